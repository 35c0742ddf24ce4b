package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// What this program is when it is run with one of these as its first argument.
const (
	serveArgument   = "serve"   // a web server, in a container
	checkArgument   = "check"   // its health check
	clientsArgument = "clients" // clients, on a host
)

const (
	servePort   = ":80"
	servedBytes = 256
	serveGrace  = 8 * time.Second // for requests that have begun when it is told to stop
	slowShare   = 8               // one request of so many is answered slowly
	slowPeriod  = 50 * time.Millisecond
	headersWait = 10 * time.Second
)

// serveWeb is a web server that ends as one should: when it is told to, it answers
// what it has been asked, and no more. Some of its answers take a while.
func serveWeb() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	text := []byte(name + "\n" + fmt.Sprintf("%*s", servedBytes, ""))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(slowPeriod) // this is what is asked for
		_, _ = w.Write(text)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: headersWait}
	listener, err := net.Listen("tcp", servePort)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	last, done := context.WithTimeout(context.Background(), serveGrace)
	defer done()
	if err := server.Shutdown(last); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// checkWeb fails unless the web server of this container answers.
func checkWeb() error {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get("http://127.0.0.1" + servePort + "/")
	if err != nil {
		return err
	}
	return response.Body.Close()
}
