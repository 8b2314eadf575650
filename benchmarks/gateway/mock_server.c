/* The mock's transport: sockets, epoll and timers. What is answered is mock.c's business. */

#include "mock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MOST_SOCKETS = 65536 };

typedef struct {
    nanoseconds due;
    Connection *connection;
    unsigned generation;
} Timer;

static Connection *connections[MOST_SOCKETS];
static Timer *timers; /* a binary heap, the earliest first */
static size_t timer_count, timer_room;
static int epoll;

static void timer_swap(size_t a, size_t b) {
    Timer kept = timers[a];
    timers[a] = timers[b];
    timers[b] = kept;
}

/* Have `resume` called at that moment, unless the connection is closed before. */
void call_later(Connection *connection, nanoseconds due) {
    if (timer_count == timer_room) {
        timer_room = timer_room ? timer_room * 2 : 1024;
        if (!(timers = realloc(timers, timer_room * sizeof *timers))) fail("memory");
    }
    size_t at = timer_count++;
    timers[at] = (Timer){due, connection, connection->generation};
    for (; at && timers[at].due < timers[(at - 1) / 2].due; at = (at - 1) / 2)
        timer_swap(at, (at - 1) / 2);
}

static Timer timer_take(void) {
    Timer first = timers[0];
    timers[0] = timers[--timer_count];
    for (size_t at = 0, child; (child = 2 * at + 1) < timer_count; at = child) {
        if (child + 1 < timer_count && timers[child + 1].due < timers[child].due) child++;
        if (timers[at].due <= timers[child].due) break;
        timer_swap(at, child);
    }
    return first;
}

static void watch(Connection *connection, int operation, unsigned events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(epoll, operation, connection->fd, &event)) fail("epoll_ctl");
}

static void hang_up(Connection *connection) {
    close(connection->fd);
    connection->fd = -1;
    connection->generation++;
}

/* Send what waits; what the socket does not take now goes when it is writable again. */
static void flush(Connection *connection) {
    Buffer *out = &connection->out;
    ssize_t sent = send(connection->fd, out->bytes, out->length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        hang_up(connection);
        return;
    }
    if (sent > 0) consume(out, (size_t)sent);
    if (out->length) watch(connection, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

/* Serve the requests that have arrived whole; the next one waits for the answer to this one. */
static void work_off(Connection *connection) {
    Buffer *in = &connection->in;
    while (!connection->busy && in->length) {
        consume(in, feed(&connection->request, in->bytes, in->length));
        if (connection->request.phase != COMPLETE) break;
        serve(connection);
        message_reset(&connection->request);
    }
    if (connection->out.length) flush(connection);
}

static void receive(Connection *connection) {
    reserve(&connection->in, 65536);
    ssize_t got = recv(connection->fd, connection->in.bytes + connection->in.length, 65536, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) {
        hang_up(connection);
    } else if (got > 0) {
        connection->in.length += (size_t)got;
        work_off(connection);
    }
}

/* The connection of a descriptor; its buffers are kept for the next one with that number. */
static Connection *connection_of(int fd, Replica *replica) {
    if (fd >= MOST_SOCKETS) fail("too many sockets");
    Connection *connection = connections[fd];
    if (!connection && !(connection = connections[fd] = calloc(1, sizeof *connection))) fail("memory");
    connection->fd = fd;
    connection->replica = replica;
    connection->busy = 0;
    connection->in.length = connection->out.length = 0;
    message_reset(&connection->request);
    return connection;
}

static void greet(Connection *listener) {
    int fd, on = 1;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        watch(connection_of(fd, listener->replica), EPOLL_CTL_ADD, EPOLLIN);
    }
}

void listen_on(Replica *replica) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
    if (!epoll) epoll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)replica->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (void *)&address, size) || listen(fd, 4096)) fail("listen");
    getsockname(fd, (void *)&address, &size);
    replica->port = ntohs(address.sin_port);
    Connection *listener = connection_of(fd, replica);
    listener->listens = 1;
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);
}

static void run_timers(void) {
    while (timer_count && timers[0].due <= now()) {
        Timer timer = timer_take();
        Connection *connection = timer.connection;
        if (connection->generation != timer.generation) continue;
        resume(connection, timer.due);
        work_off(connection);
    }
}

static void handle(Connection *connection, unsigned events) {
    if (connection->listens) {
        greet(connection);
        return;
    }
    if (connection->fd >= 0 && events & EPOLLOUT) {
        watch(connection, EPOLL_CTL_MOD, EPOLLIN);
        flush(connection);
    }
    if (connection->fd >= 0 && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
}

void serve_forever(void) {
    struct epoll_event events[256];
    for (;;) {
        nanoseconds wait = timer_count ? timers[0].due - now() : 1000000000;
        if (wait < 0) wait = 0;
        struct timespec limit = {wait / 1000000000, wait % 1000000000};
        int ready = epoll_pwait2(epoll, events, 256, &limit, NULL);
        for (int i = 0; i < ready; i++) handle(events[i].data.ptr, events[i].events);
        run_timers();
    }
}
