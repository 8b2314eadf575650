/* What mock.c and load.c share: a growing buffer, the clock, and a reader of one HTTP/1.1 message.
 *
 * The reader takes bytes as they arrive and decodes the body (fixed length, chunked, or until the
 * connection closes), so that an event cut in two by the network is still counted once. */

#ifndef WIRE_H
#define WIRE_H

#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

typedef long long nanoseconds;

typedef struct {
    char *bytes;
    size_t length, capacity;
} Buffer;

static inline void fail(const char *what) {
    perror(what);
    exit(2);
}

static inline nanoseconds now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Make room for `more` bytes behind what is there, and one for a terminating zero. */
static inline void reserve(Buffer *buffer, size_t more) {
    if (buffer->length + more < buffer->capacity) return;
    buffer->capacity = (buffer->length + more + 1) * 2;
    buffer->bytes = realloc(buffer->bytes, buffer->capacity);
    if (!buffer->bytes) fail("memory");
}

static inline void append(Buffer *buffer, const char *bytes, size_t length) {
    reserve(buffer, length);
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
    buffer->bytes[buffer->length] = 0;
}

static inline void appendf(Buffer *buffer, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    reserve(buffer, 1024);
    size_t room = buffer->capacity - buffer->length;
    size_t length = (size_t)vsnprintf(buffer->bytes + buffer->length, room, format, arguments);
    if (length >= room) {
        reserve(buffer, length);
        vsnprintf(buffer->bytes + buffer->length, length + 1, format, again);
    }
    buffer->length += length;
    va_end(again);
    va_end(arguments);
}

/* Drop the first `count` bytes. */
static inline void consume(Buffer *buffer, size_t count) {
    memmove(buffer->bytes, buffer->bytes + count, buffer->length - count);
    buffer->length -= count;
}

typedef enum { HEAD, FIXED, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER, UNTIL_CLOSE, COMPLETE } Phase;
typedef enum { REQUEST, RESPONSE } Kind;

typedef struct {
    Kind kind;
    Phase phase;
    Buffer head, body, line;
    size_t left; /* bytes of the body, or of the chunk, that are still to come */
} Message;

static inline void message_reset(Message *message) {
    message->phase = HEAD;
    message->head.length = message->body.length = message->line.length = message->left = 0;
}

/* The value of a header, up to its line's end, or NULL. */
static inline const char *header(const Message *message, const char *name) {
    size_t length = strlen(name);
    const char *line = message->head.bytes;
    while (line && (line = strchr(line, '\n'))) {
        line++;
        if (!strncasecmp(line, name, length) && line[length] == ':') {
            line += length + 1;
            return line + strspn(line, " ");
        }
    }
    return NULL;
}

static inline void head_complete(Message *message) {
    const char *encoding = header(message, "transfer-encoding");
    const char *length = header(message, "content-length");
    message->left = length ? strtoul(length, NULL, 10) : 0;
    if (encoding && !strncasecmp(encoding, "chunked", 7)) message->phase = CHUNK_SIZE;
    else if (length || message->kind == REQUEST) message->phase = message->left ? FIXED : COMPLETE;
    else message->phase = UNTIL_CLOSE;
}

/* Take bytes of the head; returns how many belonged to it. */
static inline size_t feed_head(Message *message, const char *bytes, size_t length) {
    Buffer *head = &message->head;
    size_t before = head->length, from = before < 3 ? 0 : before - 3;
    append(head, bytes, length);
    char *end = memmem(head->bytes + from, head->length - from, "\r\n\r\n", 4);
    if (!end) return length;
    size_t whole = (size_t)(end - head->bytes) + 4;
    head->length = whole;
    head->bytes[whole] = 0;
    head_complete(message);
    return whole - before;
}

/* Take bytes of a line between chunks; returns how many belonged to it. */
static inline size_t feed_line(Message *message, const char *bytes, size_t length) {
    const char *end = memchr(bytes, '\n', length);
    size_t taken = end ? (size_t)(end - bytes) + 1 : length;
    append(&message->line, bytes, taken);
    if (!end) return taken;
    switch (message->phase) {
        case CHUNK_SIZE:
            message->left = strtoul(message->line.bytes, NULL, 16);
            message->phase = message->left ? CHUNK_DATA : TRAILER;
            break;
        case TRAILER:
            if (message->line.length <= 2) message->phase = COMPLETE;
            break;
        default: message->phase = CHUNK_SIZE;
    }
    message->line.length = 0;
    return taken;
}

/* Take bytes of the body; returns how many belonged to it. */
static inline size_t feed_body(Message *message, const char *bytes, size_t length) {
    int endless = message->phase == UNTIL_CLOSE;
    size_t taken = endless || length < message->left ? length : message->left;
    append(&message->body, bytes, taken);
    if (endless || (message->left -= taken)) return taken;
    message->phase = message->phase == FIXED ? COMPLETE : CHUNK_END;
    return taken;
}

/* Take bytes as they came; returns how many belonged to this message. */
static inline size_t feed(Message *message, const char *bytes, size_t length) {
    size_t taken = 0;
    while (taken < length && message->phase != COMPLETE) {
        const char *rest = bytes + taken;
        size_t left = length - taken;
        switch (message->phase) {
            case HEAD: taken += feed_head(message, rest, left); break;
            case FIXED:
            case CHUNK_DATA:
            case UNTIL_CLOSE: taken += feed_body(message, rest, left); break;
            default: taken += feed_line(message, rest, left);
        }
    }
    return taken;
}

#endif
