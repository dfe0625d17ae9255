/* The error record.
 *
 * 1. A slot holds the record of the last failure that had a text, or NULL. There is one slot per
 * task and one per thread.
 * 2. A record is written only while its slot has the only reference to it.
 * 3. A text is valid UTF-8 without control characters, at most 511 bytes.
 * 4. Nothing formats a deferred text before somebody asks for it. */
#include "base/alloc.h"
#include "base/error.h"
#include "base/escape.h"
#include "base/noexcept.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define WORDS_MAX 512

struct rota__error {
    atomic_uint refs;
    int err;
    const rota_error_type *type; /* of the detail, or NULL */
    void *detail;
    /* the text is made when somebody asks, by the type or for a deadline: */
    bool is_deferred;
    _Atomic(char *) made; /* then; several threads may ask at once, the first one stays */
    const char *late_in;  /* of a deadline: what the task waited for, or NULL */
    /* Of the same code; has the detail that this text was put before. */
    struct rota__error *cause;
    char words[WORDS_MAX];
};

/* ---- Slots */

static __thread struct rota__error *thread_slot;
static rota__error_slot_fn *_Atomic slot_of_task;

static pthread_key_t thread_end_key;
static pthread_once_t thread_end_once = PTHREAD_ONCE_INIT;
static bool thread_end_key_made;

void rota__error_slots(rota__error_slot_fn *slot)
{
    atomic_store_explicit(&slot_of_task, slot, memory_order_relaxed);
}

static void thread_end(void *unused)
{
    (void)unused;
    rota__error_unref(thread_slot);
    thread_slot = NULL;
}

static void make_thread_end_key(void)
{
    thread_end_key_made = pthread_key_create(&thread_end_key, thread_end) == 0;
}

/* An unloaded library must not be called at the end of a thread. The record stays: at the program's
 * end the allocator may be gone. */
__attribute__((destructor)) static void unload(void)
{
    if (thread_end_key_made)
        pthread_key_delete(thread_end_key);
    thread_end_key_made = false;
}

static struct rota__error **current_slot(void)
{
    rota__error_slot_fn *of_task = atomic_load_explicit(&slot_of_task, memory_order_relaxed);
    struct rota__error **slot = of_task ? of_task() : NULL;
    return slot ? slot : &thread_slot;
}

void rota__error_put(struct rota__error **slot, struct rota__error *error)
{
    rota__error_unref(*slot);
    *slot = error;
    if (error && slot == &thread_slot) {
        pthread_once(&thread_end_once, make_thread_end_key);
        if (thread_end_key_made)
            pthread_setspecific(thread_end_key, &thread_slot);
    }
}

long rota__error_held(void)
{
    long held = 0;
    for (const struct rota__error *e = thread_slot; e; e = e->cause)
        held += 1 + (e->detail != NULL) + (atomic_load(&e->made) != NULL);
    return held;
}

/* ---- Words */

/* Fills `out` with the text, whole characters and whole escapes only. Text that is cut ends with
 * "...". */
static void escape(char out[WORDS_MAX], const char *text, bool cut)
{
    const size_t limit = WORDS_MAX - 1, limit_if_cut = limit - 3;
    size_t at = 0, end_if_cut = 0;
    const char *end = text + strlen(text);
    while (text < end) {
        char escaped[ROTA__ESCAPED_MAX];
        size_t len = rota__escape(escaped, &text, (size_t)(end - text));
        if (at + len > limit) {
            cut = true;
            break;
        }
        memcpy(out + at, escaped, len);
        at += len;
        if (at <= limit_if_cut)
            end_if_cut = at;
    }
    if (cut) {
        memcpy(out + end_if_cut, "...", 3);
        at = end_if_cut + 3;
    }
    out[at] = '\0';
}

struct formatted {
    char text[WORDS_MAX];
    bool cut;
};

__attribute__((format(printf, 2, 0))) static void format_words(struct formatted *f,
                                                               const char *format, va_list args)
{
    int n = vsnprintf(f->text, sizeof f->text, format, args);
    if (n < 0)
        f->text[0] = '\0';
    f->cut = n >= (int)sizeof f->text;
}

/* ---- Records */

static void drop_detail(struct rota__error *error)
{
    if (error->type && error->type->fini)
        error->type->fini(error->detail);
    ROTA__NOEXCEPT();
    rota_free(error->detail);
    rota_free(atomic_load_explicit(&error->made, memory_order_relaxed));
    rota__error_unref(error->cause);
    error->is_deferred = false;
    atomic_init(&error->made, NULL);
    error->type = NULL;
    error->detail = NULL;
    error->cause = NULL;
}

struct rota__error *rota__error_ref(struct rota__error *error)
{
    if (error)
        atomic_fetch_add_explicit(&error->refs, 1, memory_order_relaxed);
    return error;
}

void rota__error_unref(struct rota__error *error)
{
    if (!error || atomic_fetch_sub_explicit(&error->refs, 1, memory_order_acq_rel) != 1)
        return;
    drop_detail(error);
    rota_free(error);
}

static struct rota__error *record_new(void)
{
    struct rota__error *error = rota_alloc(sizeof *error);
    if (!error)
        return NULL;
    atomic_init(&error->refs, 1);
    error->is_deferred = false;
    atomic_init(&error->made, NULL);
    error->type = NULL;
    error->detail = NULL;
    error->cause = NULL;
    return error;
}

struct rota__error *rota__error_new(int err, const char *words)
{
    struct rota__error *error = record_new();
    if (!error)
        return NULL;
    error->err = err;
    escape(error->words, words, false);
    return error;
}

static void deadline_words(const char *late_in, char text[WORDS_MAX])
{
    if (late_in)
        snprintf(text, WORDS_MAX, "deadline passed while waiting (%s)", late_in);
    else
        snprintf(text, WORDS_MAX, "deadline passed");
}

/* Without memory, the code's own. */
static const char *make_words(struct rota__error *error)
{
    char *made = atomic_load_explicit(&error->made, memory_order_acquire), *none = NULL;
    char text[WORDS_MAX] = "";
    if (made)
        return made;
    if (error->type)
        error->type->words(error->detail, error->err, text, sizeof text);
    else
        deadline_words(error->late_in, text);
    ROTA__NOEXCEPT();
    made = rota_alloc(WORDS_MAX);
    if (!made)
        return rota_strerror(error->err);
    escape(made, text, strlen(text) == sizeof text - 1);
    if (atomic_compare_exchange_strong(&error->made, &none, made))
        return made;
    rota_free(made);
    return none;
}

const char *rota__error_words(const struct rota__error *error, int err)
{
    if (!error || error->err != err)
        return rota_strerror(err);
    return error->is_deferred ? make_words((struct rota__error *)error) : error->words;
}

/* The record that the slot may write to; NULL, and an empty slot, without memory. */
static struct rota__error *slot_writable(struct rota__error **slot)
{
    struct rota__error *error = *slot;
    if (error && atomic_load_explicit(&error->refs, memory_order_acquire) == 1)
        return error;
    error = record_new();
    rota__error_put(slot, error);
    return error;
}

/* Writes the text; returns the record, or NULL without memory. */
static struct rota__error *slot_set(int err, const struct formatted *words)
{
    if (err >= 0)
        return NULL;
    struct rota__error *error = slot_writable(current_slot());
    if (!error)
        return NULL;
    drop_detail(error);
    error->err = err;
    escape(error->words, words->text, words->cut);
    return error;
}

/* The record takes over what the detail owns, or it is finished here. */
static void set_detail(struct rota__error *error, const rota_error_type *type, void *detail)
{
    void *copy = error ? rota_alloc(type->size) : NULL;
    if (copy) {
        error->detail = memcpy(copy, detail, type->size);
        error->type = type;
    } else if (type->fini) {
        type->fini(detail);
    }
}

__attribute__((format(printf, 2, 0))) static struct rota__error *
slot_set_formatted(int err, const char *format, va_list args)
{
    int saved = errno;
    struct formatted words;
    format_words(&words, format, args);
    struct rota__error *error = slot_set(err, &words);
    errno = saved;
    return error;
}

int rota_error_set(int err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    slot_set_formatted(err, format, args);
    va_end(args);
    return err;
}

int rota_error_set_detail(int err, const rota_error_type *type, void *detail, const char *format,
                          ...)
{
    int saved = errno;
    va_list args;
    va_start(args, format);
    set_detail(slot_set_formatted(err, format, args), type, detail);
    va_end(args);
    errno = saved;
    return err;
}

int rota_error_set_deferred(int err, const rota_error_type *type, void *detail)
{
    static const struct formatted none = {.cut = false};
    int saved = errno;
    struct rota__error *error = slot_set(err, &none);
    set_detail(error, type, detail);
    if (error && error->detail)
        error->is_deferred = true;
    else if (error)
        rota__error_put(current_slot(), NULL);
    errno = saved;
    return err;
}

void rota__error_late(struct rota__error **slot, const char *late_in)
{
    struct rota__error *error = slot_writable(slot);
    if (!error)
        return;
    drop_detail(error);
    error->err = -ETIMEDOUT;
    error->is_deferred = true;
    error->late_in = late_in;
}

/* What the record of `err` knows beside its text, to be kept under another text; or NULL. */
static struct rota__error *detailed(int err)
{
    struct rota__error *error = *current_slot();
    bool has = error && error->err == err && (error->type || error->cause);
    return has ? rota__error_ref(error->type ? error : error->cause) : NULL;
}

int rota_error_wrap(int err, const char *format, ...)
{
    int saved = errno;
    struct formatted first, all;
    va_list args;
    va_start(args, format);
    format_words(&first, format, args);
    va_end(args);
    int n = snprintf(all.text, sizeof all.text, "%s: %s", first.text, rota_error(err));
    all.cut = n >= (int)sizeof all.text;
    struct rota__error *cause = detailed(err), *error = slot_set(err, &all);
    if (error)
        error->cause = cause;
    else
        rota__error_unref(cause);
    errno = saved;
    return err;
}

const char *rota_error(int err)
{
    return rota__error_words(*current_slot(), err);
}

const void *rota_error_detail(int err, const rota_error_type *type)
{
    const struct rota__error *error = *current_slot();
    if (error && error->err == err && error->cause)
        error = error->cause;
    return error && error->err == err && error->type == type ? error->detail : NULL;
}

static bool is_of_deadline(const struct rota__error *error)
{
    return error && error->is_deferred && !error->type;
}

int rota__error_plain(int err)
{
    struct rota__error **slot = current_slot();
    if (!is_of_deadline(*slot))
        rota__error_forget(slot, err);
    return err;
}

/* ---- Handing over */

struct rota__error *rota__error_take_from(struct rota__error **slot, int err)
{
    struct rota__error *error = *slot;
    *slot = NULL;
    if (error && error->err != err) {
        rota__error_unref(error);
        error = NULL;
    }
    return error;
}

void rota__error_forget(struct rota__error **slot, int err)
{
    if (*slot && (*slot)->err == err)
        rota__error_put(slot, NULL);
}

struct rota__error *rota__error_take(int err)
{
    return rota__error_take_from(current_slot(), err);
}

void rota__error_give(struct rota__error *error)
{
    rota__error_put(current_slot(), error);
}

rota_error_kept rota_error_set_aside(void)
{
    struct rota__error **slot = current_slot();
    rota_error_kept kept = {*slot};
    *slot = NULL;
    return kept;
}

void rota_error_put_back(rota_error_kept *kept)
{
    rota__error_put(current_slot(), kept->_error);
}
