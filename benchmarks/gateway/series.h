/* A growing list of durations, and its quantiles. */

#ifndef SERIES_H
#define SERIES_H

#include "wire.h"

typedef struct {
    nanoseconds *values;
    size_t count, room;
} Series;

static inline void add(Series *series, nanoseconds value) {
    if (series->count == series->room) {
        series->room = series->room ? series->room * 2 : 65536;
        series->values = realloc(series->values, series->room * sizeof *series->values);
        if (!series->values) fail("memory");
    }
    series->values[series->count++] = value;
}

static inline int ascending(const void *a, const void *b) {
    nanoseconds x = *(const nanoseconds *)a, y = *(const nanoseconds *)b;
    return (x > y) - (x < y);
}

/* In milliseconds; the series must be sorted. */
static inline double quantile(const Series *series, double share) {
    if (!series->count) return 0;
    return (double)series->values[(size_t)(share * (double)(series->count - 1) + 0.5)] / 1e6;
}

#endif
