/* The error record, internally: the text of one failure, on its way from the place where it
 * happened to the caller that asks. Records are reference-counted and shared: several tasks that
 * wait for one task get the same record. */
#ifndef ROTA__BASE_ERROR_H
#define ROTA__BASE_ERROR_H

#include <rota/base.h>

struct rota__error;

/* The slot of the running task, or NULL for the thread's own. Set by the task layer, which has one
 * for each task, so a switch between tasks copies nothing. */
typedef struct rota__error **rota__error_slot_fn(void);
void rota__error_slots(rota__error_slot_fn *slot);

/* Takes the record out of the current slot. Returns it if it belongs to `err`; else it is
 * dropped. */
struct rota__error *rota__error_take(int err);
/* The same for a slot that is at hand. */
struct rota__error *rota__error_take_from(struct rota__error **slot, int err);
/* Puts a record, or none, into the current slot, or into another one. What was there is dropped.
 * Takes over the reference. */
void rota__error_give(struct rota__error *error);
void rota__error_put(struct rota__error **slot, struct rota__error *error);

/* A record without a slot; NULL where memory is missing. `words` is escaped and cut. */
struct rota__error *rota__error_new(int err, const char *words);
struct rota__error *rota__error_ref(struct rota__error *error);
void rota__error_unref(struct rota__error *error);
/* The record's text if it belongs to `err`, else that of the code; made now if it was deferred.
 * Accepts NULL. */
const char *rota__error_words(const struct rota__error *error, int err);

/* Drops the slot's record if it belongs to `err`: from now on a failure without a text may return
 * that code. */
void rota__error_forget(struct rota__error **slot, int err);

/* The text of a deadline (-ETIMEDOUT), made when somebody asks. `late_in`: what the task waited
 * for, a string that stays; NULL if it did not wait. */
void rota__error_late(struct rota__error **slot, const char *late_in);

/* The failure has only its code's text: that of an earlier failure with that code is dropped,
 * unless it is a deadline's. Returns `err`. */
int rota__error_plain(int err);

/* Passes a result on. A failure carries no text of its own. */
static inline int rota__result_plain(int result)
{
    return __builtin_expect(result < 0, false) ? rota__error_plain(result) : result;
}

/* Allocations that the calling thread's own record holds. They are freed when the thread ends, so
 * they are not a leak. */
long rota__error_held(void);

#endif
