/* The stops of the tour, in order. */
#ifndef STOPS_H
#define STOPS_H

struct stop {
    const char *name; /* also that of the file, without .c */
    int (*main)(void);
    const char *sentence;
    int status; /* with which it exits */
};

extern const struct stop stops[];
extern const int stop_count;

#endif
