package runtime

import (
	"context"
	"fmt"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/defaults"
	"github.com/containerd/containerd/v2/pkg/dialer"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// reconnectDelayMax bounds how long a containerd that is back stays unnoticed.
const reconnectDelayMax = 300 * time.Millisecond

// dial connects to containerd and waits until it answers. Calls that are made
// while the connection is down wait for it to be back, or for their context.
func dial(ctx context.Context, address, namespace string) (*containerd.Client, error) {
	pace := backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelayMax}
	client, err := containerd.New(address,
		containerd.WithDefaultNamespace(namespace),
		containerd.WithDialOpts([]grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(dialer.ContextDialer),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: pace, MinConnectTimeout: 5 * time.Second}),
		}),
		containerd.WithCallOpts([]grpc.CallOption{
			grpc.WaitForReady(true),
			grpc.MaxCallRecvMsgSize(defaults.DefaultMaxRecvMsgSize),
			grpc.MaxCallSendMsgSize(defaults.DefaultMaxSendMsgSize),
		}))
	if err != nil {
		return nil, fmt.Errorf("cannot connect to containerd at %s: %w", address, err)
	}
	if _, err := client.Version(ctx); err != nil {
		_ = client.Close()
		return nil, fmt.Errorf("containerd at %s does not answer: %w", address, err)
	}
	return client, nil
}

// retry runs an operation, again if containerd is lost under it; so it must be
// one that may be repeated.
func (r *Runtime) retry(ctx context.Context, operation func(context.Context) error) error {
	var err error
	for range operationRetries {
		err = operation(ctx)
		if !errdefs.IsUnavailable(native(err)) || ctx.Err() != nil {
			return err
		}
		r.log.Warn("containerd was lost under an operation; it is done again", "error", err)
	}
	return err
}

// native turns an error of a gRPC call into one that errdefs knows.
func native(err error) error { return errgrpc.ToNative(err) }
