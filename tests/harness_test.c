/* The harness, run on small lists of cases that misbehave on purpose. */

#include "harness.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs one case as a program of its own called "sample" and returns its report, to be freed. */
static char *run_sample(struct test_case sample, char *word, int *ret_status)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    char *argv[] = {(char[]){"sample"}, word, NULL};

    sample.name = "sample_case";
    sample.file = "sample.c";
    *ret_status = test_run(&sample, word ? 2 : 1, argv, out);
    fclose(out);
    return text;
}

static void check_report(struct test_case sample, int status, const char *expected)
{
    int actual;
    char *text = run_sample(sample, NULL, &actual);

    printf("%s", text);
    CHECK(strstr(text, expected));
    CHECK_INT(actual, ==, status);
    free(text);
}

static void do_nothing(void)
{
}

static void fail_a_check(void)
{
    CHECK_INT(1 + 1, ==, 3);
}

static void hang(void)
{
    for (;;)
        pause();
}

static void raise_abort(void)
{
    fprintf(stderr, "last words\n");
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
}

static void skip(void)
{
    SKIP("no moon");
}

static void exit_with_3(void)
{
    printf("three\n");
    exit(3);
}

TEST(case_that_returns_is_counted_as_passed)
{
    check_report((struct test_case){.body = do_nothing}, 0,
                 "# sample: 1 passed, 0 failed, 0 skipped\n");
}

TEST(failed_check_is_counted_as_failed)
{
    check_report((struct test_case){.body = fail_a_check}, 1,
                 "# sample: 0 passed, 1 failed, 0 skipped\n");
}

TEST(failed_check_prints_place_and_both_values)
{
    check_report((struct test_case){.body = fail_a_check}, 1,
                 "CHECK_INT(1 + 1 == 3), left is 2, right is 3\n");
}

TEST_WITH(hanging_case_is_killed_and_reported, .without_faults = true)
{
    check_report((struct test_case){.body = hang, .seconds = 1}, 1,
                 "FAIL sample_case (sample.c:0): hung: killed after ");
}

TEST(signal_death_is_reported_with_captured_output)
{
    check_report((struct test_case){.body = raise_abort}, 1,
                 "ended by signal 6 (Aborted)\n    last words\n");
}

TEST(expected_signal_and_text_pass)
{
    check_report((struct test_case){.body = raise_abort, .dies_of = SIGABRT, .says = "last words"},
                 0, "# sample: 1 passed");
}

TEST(expected_signal_without_the_text_fails)
{
    check_report((struct test_case){.body = raise_abort, .dies_of = SIGABRT, .says = "goodbye"}, 1,
                 "did not say \"goodbye\"");
}

/* Says where it has left files: in its directory, which is the one for temporary files. */
static void leave_files(void)
{
    char path[200];
    snprintf(path, sizeof path, "%s/XXXXXX", getenv("TMPDIR"));
    CHECK(mkstemp(path) >= 0);
    snprintf(path, sizeof path, "%s/directory", test_directory());
    CHECK_OK(mkdir(path, 0700));
    snprintf(path, sizeof path, "%s/directory/file", test_directory());
    CHECK(fopen(path, "w"));
    printf("files in <%s>\n", test_directory());
    fflush(stdout);
}

static void leave_files_and_die(void)
{
    leave_files();
    raise_abort();
}

static void leave_files_and_fail(void)
{
    leave_files();
    CHECK(false);
}

static void leave_files_and_hang(void)
{
    leave_files();
    hang();
}

static void check_leaves_nothing(void (*body)(void))
{
    int status;
    char *text = run_sample((struct test_case){.body = body, .seconds = 1}, NULL, &status);
    char path[200];
    CHECK_INT(sscanf(text, "%*[^<]<%199[^>]", path), ==, 1);
    CHECK_INT(access(path, F_OK), ==, -1);
    free(text);
}

TEST_WITH(files_of_a_case_go_with_it_however_it_ends, .without_faults = true)
{
    check_leaves_nothing(leave_files_and_die);
    check_leaves_nothing(leave_files_and_fail);
    check_leaves_nothing(leave_files_and_hang);
}

TEST(surviving_an_expected_signal_fails)
{
    check_report((struct test_case){.body = do_nothing, .dies_of = SIGSEGV}, 1,
                 "should have ended by signal 11");
}

TEST(unexpected_exit_status_fails)
{
    check_report((struct test_case){.body = exit_with_3}, 1, "exited with 3\n    three\n");
}

TEST(expected_exit_status_passes)
{
    check_report((struct test_case){.body = exit_with_3, .exits_with = 3, .says = "three"}, 0,
                 "# sample: 1 passed");
}

TEST(skip_is_counted_with_its_reason)
{
    check_report((struct test_case){.body = skip}, 0,
                 "SKIP sample_case: no moon\n# sample: 0 passed, 0 failed, 1 skipped\n");
}

TEST(name_filter_selects_by_substring)
{
    int status;
    char *other = run_sample((struct test_case){.body = fail_a_check}, (char[]){"other"}, &status);
    CHECK_STR(other, "# sample: 0 passed, 0 failed, 0 skipped\n");
    char *same = run_sample((struct test_case){.body = do_nothing}, (char[]){"ple_c"}, &status);
    CHECK_STR(same, "# sample: 1 passed, 0 failed, 0 skipped\n");
    free(other);
    free(same);
}

static void check_backend_is_set(void)
{
    const char *backend = getenv("ROTA_BACKEND");
    CHECK(backend && (strcmp(backend, "epoll") == 0 || strcmp(backend, "uring") == 0));
}

TEST(both_backends_case_is_listed_twice)
{
    int status;
    char *list = run_sample((struct test_case){.body = hang, .both_backends = true},
                            (char[]){"--list"}, &status);
    CHECK_STR(list, "sample_case[epoll]\nsample_case[uring]\n");
    free(list);
}

TEST_BOTH(both_backends_case_sees_its_backend)
{
    check_backend_is_set();
}

static void allocate_twice_and_trust_the_second(void)
{
    char *first = rota_alloc(1), *second = rota_alloc(1);

    if (first)
        *(volatile char *)second = 1;
    rota_free(first);
    rota_free(second);
}

static void allocate_twice_with_care(void)
{
    rota_free(rota_alloc(1));
    char *second = rota_alloc(1);
    CHECK(second);
    rota_free(second);
}

TEST(injected_fault_finds_the_point_that_is_not_handled)
{
    int status;
    char *text = run_sample((struct test_case){.body = allocate_twice_and_trust_the_second},
                            (char[]){"--fail=alloc"}, &status);
    CHECK(strstr(text, "FAIL sample_case with alloc 2 of 2 failing"));
    CHECK_INT(status, ==, 1);
    free(text);
}

TEST(check_that_fails_for_an_injected_fault_is_not_a_failure)
{
    int status;
    char *text = run_sample((struct test_case){.body = allocate_twice_with_care},
                            (char[]){"--fail=alloc"}, &status);
    CHECK_STR(text, "# sample: 1 passed, 0 failed, 0 skipped\n");
    free(text);
}

static int survivor_pipe[2];

static void leave_a_process_behind(void)
{
    if (fork() == 0)
        hang();
}

/* The survivor holds the write end: reading gives the end of file only once it is gone. */
TEST(what_a_case_started_does_not_outlive_it)
{
    char byte;
    CHECK_OK(pipe(survivor_pipe));
    check_report((struct test_case){.body = leave_a_process_behind}, 0, "# sample: 1 passed");
    close(survivor_pipe[1]);
    CHECK_INT(read(survivor_pipe[0], &byte, 1), ==, 0);
}

TEST(open_descriptors_are_counted)
{
    int before = test_open_fds();
    int fd = dup(STDOUT_FILENO);
    CHECK_INT(test_open_fds(), ==, before + 1);
    close(fd);
    CHECK_INT(test_open_fds(), ==, before);
}

TEST_DIES(declared_death_passes, SIGABRT, "last words")
{
    raise_abort();
}
