/* tour: plays the programs of this directory one after the other, at real speed.
 *
 *     tour           all of them
 *     tour NAME...   some of them
 *     tour --list    what there is */
#include "stage.h"
#include "stops.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = number;
}

static const char *bold = "", *dim = "", *plain = "";

static void show_line(const char *text, rota_time when)
{
    printf("  %s%4.1f s%s  %s\n", dim, (double)when / (double)ROTA_SECOND, plain, text);
    fflush(stdout);
}

static double seconds_since(rota_time start)
{
    return (double)(rota_now() - start) / (double)ROTA_SECOND;
}

/* Each stop gets a process of its own, as when it is run alone. Returns whether it
 * exited as it should. */
static bool play(const struct stop *stop, int number, int of)
{
    printf("%s%2d/%d  %s%s  %sexamples/tour/%s.c%s\n       %s\n\n", bold, number, of, stop->name,
           plain, dim, stop->name, plain, stop->sentence);
    fflush(stdout);
    rota_time start = rota_now();
    pid_t child = fork();
    if (child == 0) {
        signal(SIGINT, SIG_DFL);
        exit(stop->main());
    }
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) < 0) {
        perror("tour");
        return false;
    }
    bool as_expected = WIFEXITED(status) && WEXITSTATUS(status) == stop->status;
    if (as_expected)
        printf("  %sdone in %.1f s%s\n\n", dim, seconds_since(start), plain);
    else if (WIFSIGNALED(status))
        printf("  ended by signal %d (%s)\n\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        printf("  failed with status %d\n\n", WEXITSTATUS(status));
    return as_expected;
}

static const struct stop *stop_named(const char *name)
{
    for (int i = 0; i < stop_count; i++)
        if (strcmp(stops[i].name, name) == 0)
            return &stops[i];
    fprintf(stderr, "tour: there is no stop called %s; tour --list shows all\n", name);
    exit(2);
}

static void list(void)
{
    for (int i = 0; i < stop_count; i++)
        printf("%-18s %s\n", stops[i].name, stops[i].sentence);
}

int main(int argc, char **argv)
{
    if (argc == 2 && (strcmp(argv[1], "--list") == 0 || strcmp(argv[1], "--help") == 0)) {
        printf("usage: tour [NAME...]\n\n");
        list();
        return 0;
    }
    for (int i = 1; i < argc; i++)
        stop_named(argv[i]);
    if (isatty(STDOUT_FILENO) && !getenv("NO_COLOR")) {
        bold = "\033[1m";
        dim = "\033[2m";
        plain = "\033[0m";
    }

    /* Ctrl-C reaches the stop that plays, too; it ends first, then the tour. */
    signal(SIGINT, on_interrupt);
    stage.line = show_line;
    rota_time start = rota_now();
    int count = argc > 1 ? argc - 1 : stop_count, played = 0;
    for (int i = 0; i < count && !interrupted; i++)
        played += play(argc > 1 ? stop_named(argv[i + 1]) : &stops[i], i + 1, count);
    printf("%d of %d stops in %.0f s\n", played, count, seconds_since(start));
    return played < count;
}
