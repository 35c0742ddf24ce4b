package lab

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/moby/moby/api/types/swarm"
)

// Request makes a request of the daemon's API, and reads the answer. The body is
// sent as it is if it is an [io.Reader], as JSON else, and none if nil; an answer
// that is nil is not read. Client is one of the host's.
func Request(ctx context.Context, client *http.Client, method, path string, body, answer any) error {
	var sent io.Reader = http.NoBody
	kind := "application/json"
	switch b := body.(type) {
	case nil:
	case io.Reader:
		sent, kind = b, "application/x-tar"
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return err
		}
		sent = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://daemon"+path, sent)
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", kind)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s %s: %s", method, path, bytes.TrimSpace(text))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// request makes one request of the daemon's.
func (h *Host) request(ctx context.Context, method, path string, body, answer any) error {
	client := h.Client()
	defer client.CloseIdleConnections()
	if err := Request(ctx, client, method, path, body, answer); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	return nil
}

// Load has the host take the images of an archive, as docker load does.
func (h *Host) Load(ctx context.Context, archive string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close() //nolint:errcheck // it was read only
	return h.request(ctx, http.MethodPost, "/images/load?quiet=1", file, nil)
}

// FormSwarm makes a swarm of the hosts, which must run: the first founds it, and
// the others join as what they are to be.
func (c *Cluster) FormSwarm(ctx context.Context, spec swarm.Spec) error {
	first := c.Hosts[0]
	const listen = "0.0.0.0:2377"
	err := first.request(ctx, http.MethodPost, "/swarm/init", swarm.InitRequest{
		ListenAddr: listen, AdvertiseAddr: first.Addr, Spec: spec, Availability: first.Availability,
	}, nil)
	if err != nil {
		return first.withLog(err)
	}
	var founded swarm.Swarm
	if err := first.request(ctx, http.MethodGet, "/swarm", nil, &founded); err != nil {
		return err
	}
	failed := make([]error, len(c.Hosts))
	var joining sync.WaitGroup
	for i, h := range c.Hosts[1:] {
		token := founded.JoinTokens.Worker
		if h.Manager {
			token = founded.JoinTokens.Manager
		}
		joining.Go(func() {
			failed[i] = h.request(ctx, http.MethodPost, "/swarm/join", swarm.JoinRequest{
				ListenAddr: listen, AdvertiseAddr: h.Addr, RemoteAddrs: []string{first.Addr}, JoinToken: token, Availability: h.Availability,
			}, nil)
		})
	}
	joining.Wait()
	for i, err := range failed {
		if err != nil {
			return c.Hosts[i+1].withLog(err)
		}
	}
	return nil
}

// withLog is an error with what the host's daemon wrote last.
func (h *Host) withLog(err error) error {
	return fmt.Errorf("%w\nthe log of %s ends with:\n%s", err, h.Name, h.logTail())
}
