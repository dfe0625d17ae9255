// WebSocket echo over golang.org/x/net, message by message.
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"

	"golang.org/x/net/websocket"
)

func echo(connection *websocket.Conn) {
	for {
		var message []byte
		if err := websocket.Message.Receive(connection, &message); err != nil {
			return
		}
		if err := websocket.Message.Send(connection, message); err != nil {
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
	log.Fatal(http.Serve(listener, websocket.Server{Handler: echo}))
}
