// Spawns /bin/true and waits for it, one after the other, from a parent that holds memory; prints
// nanoseconds a spawn, the best of five times as many.
//
//	spawn GIGABYTES SPAWNS
package main

import (
	"fmt"
	"log"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		log.Fatal("usage: spawn GIGABYTES SPAWNS")
	}
	gigabytes, _ := strconv.Atoi(os.Args[1])
	spawns, _ := strconv.Atoi(os.Args[2])
	held := make([]byte, gigabytes<<30)
	for i := 0; i < len(held); i += 4096 {
		held[i] = 1
	}
	least := time.Duration(1 << 62)
	for i := 0; i < 5; i++ {
		start := time.Now()
		for n := 0; n < spawns; n++ {
			if err := exec.Command("/bin/true").Run(); err != nil {
				log.Fatal(err)
			}
		}
		if took := time.Since(start); took < least {
			least = took
		}
	}
	fmt.Println(least.Nanoseconds() / int64(spawns))
	runtime.KeepAlive(held)
}
