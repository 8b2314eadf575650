/* Just enough JSON to read a field of a request: no tree, no unescaping. */

#ifndef JSON_H
#define JSON_H

#include "wire.h"

/* Where the value of a JSON field begins, or NULL. Inside a string quotes are escaped, so that
 * "name": cannot occur there. */
static inline const char *json_field(const Buffer *body, const char *name) {
    char wanted[64];
    size_t length = (size_t)snprintf(wanted, sizeof wanted, "\"%s\"", name);
    const char *end = body->bytes + body->length;
    for (const char *at = body->bytes; at; at += length) {
        at = memmem(at, (size_t)(end - at), wanted, length);
        if (!at) return NULL;
        const char *value = at + length + strspn(at + length, " \t\r\n");
        if (*value == ':') return value + 1 + strspn(value + 1, " \t\r\n");
    }
    return NULL;
}

/* Copy a JSON string as it is written, escapes included; empty if there is none. */
static inline void json_string(const Buffer *body, const char *name, char *into, size_t room) {
    const char *value = json_field(body, name);
    size_t length = 0;
    if (value && *value++ == '"')
        for (; value[length] && value[length] != '"' && length < room - 1; length++)
            into[length] = value[length];
    into[length] = 0;
}

static inline int json_true(const Buffer *body, const char *name) {
    const char *value = json_field(body, name);
    return value && !strncmp(value, "true", 4);
}

#endif
