// UDP echo over Go's net package: one goroutine, one read and one write a datagram, no allocations.
package main

import (
	"fmt"
	"log"
	"net"
)

func main() {
	connection, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("port %d\n", connection.LocalAddr().(*net.UDPAddr).Port)
	buffer := make([]byte, 2048)
	for {
		n, sender, err := connection.ReadFromUDPAddrPort(buffer)
		if err != nil {
			log.Fatal(err)
		}
		if _, err = connection.WriteToUDPAddrPort(buffer[:n], sender); err != nil {
			log.Fatal(err)
		}
	}
}
