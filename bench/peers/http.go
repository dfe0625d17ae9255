// net/http: 25 bytes for /hello, else the files of a directory; over TLS, and then HTTP/2 too, with a certificate.
//
//	http DIRECTORY [CERTIFICATE KEY]
package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
)

func hello(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	w.Write([]byte("Hello from the benchmark\n"))
}

func main() {
	if len(os.Args) != 2 && len(os.Args) != 4 {
		log.Fatal("usage: http DIRECTORY [CERTIFICATE KEY]")
	}
	http.HandleFunc("/hello", hello)
	http.Handle("/", http.FileServer(http.Dir(os.Args[1])))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("port", listener.Addr().(*net.TCPAddr).Port)
	if len(os.Args) == 4 {
		log.Fatal(http.ServeTLS(listener, nil, os.Args[2], os.Args[3]))
	}
	log.Fatal(http.Serve(listener, nil))
}
