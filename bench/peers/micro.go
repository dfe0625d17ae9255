// Go's counterparts of the micro rows. Each takes the operations of one repeat and prints the best of
// the repeats as `ns_per_op`.
//
//	micro yield|queue0|queue64|messages|spawn|timer|parked|pool|threads|handover OPERATIONS [REPEATS]
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	armed   = 1000000
	workers = 2
	window  = 256
)

// Two goroutines take turns.
func yield(operations int) {
	done := make(chan struct{})
	for i := 0; i < 2; i++ {
		go func() {
			for n := 0; n < operations/2; n++ {
				runtime.Gosched()
			}
			done <- struct{}{}
		}()
	}
	<-done
	<-done
}

func queue(capacity int) func(int) {
	return func(operations int) {
		messages := make(chan uint64, capacity)
		go func() {
			for n := 0; n < operations; n++ {
				messages <- uint64(n)
			}
		}()
		for n := 0; n < operations; n++ {
			if <-messages != uint64(n) {
				panic("a message was lost")
			}
		}
	}
}

// One goroutine after the other, each waited for; a channel instead of the WaitGroup is not faster.
func spawn(operations int) {
	var done sync.WaitGroup
	for n := 0; n < operations; n++ {
		done.Add(1)
		go func() {
			done.Done()
		}()
		done.Wait()
	}
}

type random uint32

// Between one hour and two, spread evenly.
func (r *random) deadline() time.Duration {
	*r = *r*1664525 + 1013904223
	return time.Hour + time.Duration(uint64(*r)*uint64(time.Hour)>>32)
}

func timer() func(int) {
	source := random(1)
	timers := make([]*time.Timer, armed)
	for i := range timers {
		timers[i] = time.AfterFunc(source.deadline(), func() {})
	}
	return func(operations int) {
		for n := 0; n < operations; n++ {
			time.AfterFunc(source.deadline(), func() {}).Stop()
		}
		runtime.KeepAlive(timers)
	}
}

// Jobs go to a fixed pool of workers, `window` of them under way at a time.
func pool(operations int) {
	runJobs(operations, window, false)
}

// The same from a goroutine that has a thread of its own to others with threads of theirs: what it costs
// to have a function run by another thread.
func threads(operations int) {
	runtime.LockOSThread()
	runJobs(operations, window, true)
	runtime.UnlockOSThread()
}

// One such job at a time.
func handover(operations int) {
	runtime.LockOSThread()
	runJobs(operations, 1, true)
	runtime.UnlockOSThread()
}

func runJobs(operations, window int, threads bool) {
	jobs := make(chan func() uint64, window)
	results := make(chan uint64, window)
	for i := 0; i < workers; i++ {
		go func() {
			if threads {
				runtime.LockOSThread()
			}
			for job := range jobs {
				results <- job()
			}
		}()
	}
	sum := uint64(0)
	for n := 0; n < operations+window; n++ {
		if n >= window {
			sum += <-results
		}
		if n < operations {
			jobs <- func() uint64 { return 1 }
		}
	}
	close(jobs)
	if sum != uint64(operations) {
		panic("a job was lost")
	}
}

// Resident memory and page tables, in bytes.
func memory() uint64 {
	file, err := os.Open("/proc/self/status")
	if err != nil {
		panic(err)
	}
	defer file.Close()
	total := uint64(0)
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) == 3 && (fields[0] == "VmRSS:" || fields[0] == "VmPTE:") {
			kilobytes, _ := strconv.ParseUint(fields[1], 10, 64)
			total += kilobytes * 1024
		}
	}
	return total
}

// Prints the bytes that a goroutine takes which waits for a channel.
func parked(count int) {
	var started, done sync.WaitGroup
	gate := make(chan struct{})
	before := memory()
	started.Add(count)
	done.Add(count)
	for n := 0; n < count; n++ {
		go func() {
			started.Done()
			<-gate
			done.Done()
		}()
	}
	started.Wait()
	fmt.Printf("%.1f\n", float64(memory()-before)/float64(count))
	close(gate)
	done.Wait()
}

func best(work func(int), operations, repeats int) {
	least := time.Duration(1 << 62)
	for i := 0; i < repeats; i++ {
		start := time.Now()
		work(operations)
		if took := time.Since(start); took < least {
			least = took
		}
	}
	fmt.Printf("%.2f\n", float64(least.Nanoseconds())/float64(operations))
}

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: micro ROW OPERATIONS [REPEATS]")
		os.Exit(2)
	}
	operations, _ := strconv.Atoi(os.Args[2])
	repeats := 5
	if len(os.Args) > 3 {
		repeats, _ = strconv.Atoi(os.Args[3])
	}
	switch os.Args[1] {
	case "yield":
		best(yield, operations, repeats)
	case "queue0":
		best(queue(0), operations, repeats)
	case "queue64":
		best(queue(64), operations, repeats)
	case "messages":
		best(queue(1024), operations, repeats)
	case "spawn":
		best(spawn, operations, repeats)
	case "timer":
		best(timer(), operations, repeats)
	case "pool":
		best(pool, operations, repeats)
	case "threads":
		best(threads, operations, repeats)
	case "handover":
		best(handover, operations, repeats)
	case "parked":
		parked(operations)
	default:
		fmt.Fprintln(os.Stderr, "micro: no such row:", os.Args[1])
		os.Exit(2)
	}
}
