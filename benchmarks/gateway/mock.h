/* A replica's connections, as mock_server.c keeps them and mock.c answers on them. */

#ifndef MOCK_H
#define MOCK_H

#include "wire.h"

enum { MOST_ADAPTERS = 128, MOST_REPLICAS = 64 };

typedef struct {
    char name[160], path[1024];
} Adapter;

typedef struct {
    int port;
    nanoseconds delay, pause;
    Adapter adapters[MOST_ADAPTERS];
    int adapter_count;
} Replica;

/* An accepted connection; `listens` marks a replica's own socket instead. While it is `busy` with an
 * answer, the requests behind it wait. */
typedef struct {
    int fd, listens, busy;
    unsigned generation; /* tells a timer of a closed connection from one of its successor */
    Replica *replica;
    Buffer in, out;
    Message request;
    /* The answer under way. `next_event` is -1 until it begins. */
    int streams, wants_usage, is_chat, next_event;
    char id[64], model[160];
} Connection;

/* mock_server.c */
void listen_on(Replica *replica);
void call_later(Connection *connection, nanoseconds due);
void serve_forever(void);

/* mock.c: answer the request that has arrived whole; go on with an answer whose time has come. Both
 * append to `out`, which is sent when they return. */
void serve(Connection *connection);
void resume(Connection *connection, nanoseconds due);

#endif
