// Echo over Go's net package: a goroutine a connection, one Read and one Write a message.
package main

import (
	"fmt"
	"log"
	"net"
)

func echo(connection net.Conn) {
	defer connection.Close()
	buffer := make([]byte, 16384)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			return
		}
		if _, err = connection.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("port %d\n", listener.Addr().(*net.TCPAddr).Port)
	for {
		connection, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go echo(connection)
	}
}
