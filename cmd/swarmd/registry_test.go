package main

import (
	"fmt"
	"io"
	"log" //nolint:depguard // the registry wants one
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/swarmd/swarmd/real/lab"
)

// serveRegistry is the script command "registry ADDRESS USER PASSWORD": until the
// script ends, a registry answers on the host to those who know the password. It
// has the image web:1.
func (p *programs) serveRegistry(ts *testscript.TestScript, neg bool, args []string) {
	host, ok := ts.Value(hostKey{}).(*lab.Host)
	if neg || len(args) != 3 || !ok {
		ts.Fatalf("usage: registry ADDRESS USER PASSWORD")
	}
	content := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	ts.Check(push(content, "web:1", p.images["nginx:alpine"]))
	listener, err := listenOn(host, args[0])
	ts.Check(err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != args[1] || password != args[2] {
			w.Header().Set("WWW-Authenticate", `Basic realm="the test's"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
			return
		}
		content.ServeHTTP(w, r)
	})}
	go server.Serve(listener) //nolint:errcheck // it ends when it is closed
	ts.Defer(func() { _ = server.Close() })
}

// push puts the image of an archive into a registry.
func push(content http.Handler, tag, archive string) error {
	server := httptest.NewServer(content)
	defer server.Close()
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + tag)
	if err != nil {
		return err
	}
	image, err := tarball.ImageFromPath(archive, nil)
	if err != nil {
		return err
	}
	return remote.Write(ref, image)
}

// listenOn listens in the host's network namespace.
func listenOn(h *lab.Host, addr string) (net.Listener, error) {
	return onNetworkOf(h, func() (net.Listener, error) { return net.Listen("tcp", addr) })
}

// onNetworkOf makes a socket in the host's network namespace. A socket stays where
// it was made.
func onNetworkOf[T any](h *lab.Host, open func() (T, error)) (T, error) {
	type opened struct {
		socket T
		err    error
	}
	result := make(chan opened)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this
		ns, err := os.Open(h.NetworkNamespace())
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err != nil {
			result <- opened{err: fmt.Errorf("enter the host's network: %w", err)}
			return
		}
		socket, err := open()
		result <- opened{socket, err}
	}()
	o := <-result
	return o.socket, o.err
}
