package runtime

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Limits of speaking with registries.
const (
	registryDialTimeout   = 5 * time.Second // with the lookup of the name
	registryHeaderTimeout = 15 * time.Second
	resolveTimeout        = 20 * time.Second // of asking what a tag means
	resolveTimeoutLocal   = 5 * time.Second  // the same, where there is an image to fall back to
	grudgePeriod          = 10 * time.Second // for which a registry that was not reached is not tried again
	authBytesMax          = 64 << 10
	transportsMax         = 64
	hubHost               = "docker.io" // as names have it
	hubRegistry           = "registry-1.docker.io"
	hubServer             = "https://index.docker.io/v1/" // as docker login has it
)

// grudges are held against registries that could not be reached: where there is
// an image to fall back to, they are not waited for again and again.
type grudges struct {
	mu    sync.Mutex
	until map[string]time.Time
}

func (g *grudges) hold(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until == nil {
		g.until = make(map[string]time.Time)
	}
	g.until[host] = time.Now().Add(grudgePeriod)
}

func (g *grudges) held(host string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return time.Now().Before(g.until[host])
}

func (g *grudges) forgive(host string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.until, host)
}

// decodeAuth reads a value of X-Registry-Auth.
func decodeAuth(header string) (registry.AuthConfig, error) {
	var auth registry.AuthConfig
	if header == "" {
		return auth, nil
	}
	if len(header) > authBytesMax {
		return auth, invalidf("the registry's credentials have %d bytes, at most %d are possible", len(header), authBytesMax)
	}
	text := strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(header, "="))
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(data, &auth)
	}
	if err != nil {
		// Neither the value nor a part of it: it is a secret.
		return registry.AuthConfig{}, invalidf("invalid X-Registry-Auth header: it must be JSON in URL-safe base64")
	}
	if auth.Auth != "" && auth.Username == "" {
		pair, err := base64.StdEncoding.DecodeString(auth.Auth)
		name, password, ok := strings.Cut(string(pair), ":")
		if err != nil || !ok {
			return registry.AuthConfig{}, invalidf("invalid X-Registry-Auth header: auth must be name:password in base64")
		}
		auth.Username, auth.Password = name, strings.TrimRight(password, "\x00")
	}
	return auth, nil
}

// transport is what speaks with a registry. Those that may be insecure are
// spoken to with any certificate or, if they have none, over plain HTTP.
func transport(insecure bool) http.RoundTripper {
	dialer := &net.Dialer{Timeout: registryDialTimeout, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		MaxIdleConnsPerHost:   4,
		IdleConnTimeout:       30 * time.Second,
		TLSHandshakeTimeout:   registryDialTimeout,
		ResponseHeaderTimeout: registryHeaderTimeout,
	}
	if !insecure {
		t.ForceAttemptHTTP2 = true
		return t
	}
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // the operator has said so, or it is on loopback
	return docker.NewHTTPFallback(t)
}

// isInsecure reports whether a registry may be spoken to without certificates.
// Names are not looked up.
func isInsecure(host string, allowed []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.Trim(name, "[]")
	address, err := netip.ParseAddr(name)
	isAddress := err == nil
	if name == "localhost" || isAddress && address.IsLoopback() {
		return true
	}
	for _, entry := range allowed {
		if entry == host || entry == name {
			return true
		}
		if prefix, err := netip.ParsePrefix(entry); err == nil && isAddress && prefix.Contains(address) {
			return true
		}
	}
	return false
}

// registryHost is how a registry is reached, and what it is shown. The host is
// one from an image's name.
func (r *Runtime) registryHost(host string, auth registry.AuthConfig) docker.RegistryHost {
	client := &http.Client{Transport: r.transports.get(host, isInsecure(host, r.config.InsecureRegistries))}
	real := host
	if host == hubHost {
		real = hubRegistry
	}
	options := []docker.AuthorizerOpt{docker.WithAuthClient(client), docker.WithAuthCreds(func(asking string) (string, string, error) {
		switch {
		case asking != real:
			return "", "", nil
		case auth.IdentityToken != "":
			return "", auth.IdentityToken, nil
		default:
			return auth.Username, auth.Password, nil
		}
	})}
	h := docker.RegistryHost{
		Client: client, Host: real, Scheme: "https", Path: "/v2",
		Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
		Authorizer:   docker.NewDockerAuthorizer(options...),
	}
	if auth.RegistryToken != "" {
		h.Authorizer = nil
		h.Header = http.Header{"Authorization": {"Bearer " + auth.RegistryToken}}
	}
	return h
}

func (r *Runtime) resolver(auth registry.AuthConfig) remotes.Resolver {
	return docker.NewResolver(docker.ResolverOptions{Hosts: func(host string) ([]docker.RegistryHost, error) {
		return []docker.RegistryHost{r.registryHost(host, auth)}, nil
	}})
}

// transports are made once for each registry, so that connections are kept.
type transports struct {
	mu     sync.Mutex
	byHost map[string]http.RoundTripper
}

func (t *transports) get(host string, insecure bool) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	if kept := t.byHost[host]; kept != nil {
		return kept
	}
	if t.byHost == nil || len(t.byHost) >= transportsMax {
		t.byHost = make(map[string]http.RoundTripper)
	}
	made := transport(insecure)
	t.byHost[host] = made
	return made
}

// resolve asks a registry what an image is, within a limit of time.
func (r *Runtime) resolve(ctx context.Context, name imageName, auth registry.AuthConfig, limit time.Duration) (ocispec.Descriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	_, target, err := r.resolver(auth).Resolve(ctx, name.full())
	switch {
	case err == nil:
		r.grudges.forgive(name.host())
	case isUnreachable(err):
		r.grudges.hold(name.host())
	}
	return target, err
}

// isUnreachable tells that no registry answered, from that it refused.
func isUnreachable(err error) bool {
	var netError net.Error
	return errors.As(err, &netError) || errors.Is(err, context.DeadlineExceeded)
}

// pullFailure is a registry's refusal in Docker's words.
func pullFailure(name imageName, err error) error {
	var status remoteerrors.ErrUnexpectedStatus
	repository, _, _ := strings.Cut(name.familiar(), "@")
	if i := strings.LastIndex(repository, ":"); i > strings.LastIndex(repository, "/") {
		repository = repository[:i]
	}
	denied := errors.Is(err, docker.ErrInvalidAuthorization) ||
		errors.As(err, &status) && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden)
	switch {
	case denied:
		return notFoundf("pull access denied for %s, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", repository)
	case errdefs.IsNotFound(err):
		return notFoundf("manifest for %s not found: manifest unknown: manifest unknown", name.familiar())
	case isUnreachable(err):
		return unavailablef("cannot pull %s: the registry %s does not answer: %s", name.familiar(), name.host(), err)
	default:
		return fmt.Errorf("cannot pull %s: %w", name.familiar(), err)
	}
}

// Distribution asks the registry what ref is. It answers, or fails, soon.
func (l *Local) Distribution(ctx context.Context, ref, header string) (registry.DistributionInspect, error) {
	var answer registry.DistributionInspect
	name, err := parseImageName(ref)
	if err != nil {
		return answer, err
	}
	auth, err := decodeAuth(header)
	if err != nil {
		return answer, err
	}
	target, err := l.r.resolve(ctx, name, auth, resolveTimeoutLocal)
	if err != nil {
		return answer, pullFailure(name, err)
	}
	answer.Descriptor = ocispec.Descriptor{MediaType: target.MediaType, Digest: target.Digest, Size: target.Size}
	fetcher, err := l.r.resolver(auth).Fetcher(ctx, name.full())
	if err != nil {
		return answer, pullFailure(name, err)
	}
	answer.Platforms, err = remotePlatforms(ctx, fetcher, target)
	if err != nil {
		return answer, pullFailure(name, err)
	}
	return answer, nil
}

// remotePlatforms are those for which a registry has the image.
func remotePlatforms(ctx context.Context, fetcher remotes.Fetcher, target ocispec.Descriptor) ([]ocispec.Platform, error) {
	if images.IsIndexType(target.MediaType) {
		var index ocispec.Index
		if err := fetchJSON(ctx, fetcher, target, &index); err != nil {
			return nil, err
		}
		var list []ocispec.Platform
		for _, m := range index.Manifests {
			if m.Platform != nil && m.Platform.OS != "unknown" {
				list = append(list, *m.Platform)
			}
		}
		return list, nil
	}
	var manifest ocispec.Manifest
	if err := fetchJSON(ctx, fetcher, target, &manifest); err != nil {
		return nil, err
	}
	var image ocispec.Image
	if err := fetchJSON(ctx, fetcher, manifest.Config, &image); err != nil {
		return nil, err
	}
	return []ocispec.Platform{image.Platform}, nil
}

func fetchJSON(ctx context.Context, fetcher remotes.Fetcher, d ocispec.Descriptor, into any) error {
	if d.Size > imageConfigBytesMax {
		return fmt.Errorf("blob %s has %d bytes, at most %d are read", d.Digest, d.Size, imageConfigBytesMax)
	}
	body, err := fetcher.Fetch(ctx, d)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, imageConfigBytesMax))
	if err != nil {
		return err
	}
	if d.Digest.Algorithm().FromBytes(data) != d.Digest {
		return fmt.Errorf("the registry sent another blob than %s", d.Digest)
	}
	return json.Unmarshal(data, into)
}

// Login asks a registry whether the credentials are good.
func (l *Local) Login(ctx context.Context, auth registry.AuthConfig) (registry.AuthResponse, error) {
	server := auth.ServerAddress
	if server == "" || server == hubServer {
		server = hubHost
	}
	server = strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://")
	server, _, _ = strings.Cut(server, "/")
	if server == "" {
		return registry.AuthResponse{}, invalidf("invalid registry address: %q", auth.ServerAddress)
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	host := l.r.registryHost(server, auth)
	address := host.Scheme + "://" + host.Host + host.Path + "/"
	var responses []*http.Response
	for range 3 {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return registry.AuthResponse{}, invalidf("invalid registry address: %q: %s", auth.ServerAddress, err)
		}
		if host.Authorizer != nil {
			if err := host.Authorizer.Authorize(ctx, request); err != nil {
				return registry.AuthResponse{}, unauthorizedf("Get %q: unauthorized: incorrect username or password", address)
			}
		}
		response, err := host.Client.Do(request)
		if err != nil {
			return registry.AuthResponse{}, unavailablef("the registry %s does not answer: %s", server, err)
		}
		_ = response.Body.Close()
		if response.StatusCode < http.StatusMultipleChoices {
			return registry.AuthResponse{Status: "Login Succeeded"}, nil
		}
		responses = append(responses, response)
		if response.StatusCode != http.StatusUnauthorized || host.Authorizer == nil ||
			host.Authorizer.AddResponses(ctx, responses) != nil {
			break
		}
	}
	last := responses[len(responses)-1]
	if last.StatusCode == http.StatusUnauthorized || last.StatusCode == http.StatusForbidden {
		return registry.AuthResponse{}, unauthorizedf("Get %q: unauthorized: incorrect username or password", address)
	}
	return registry.AuthResponse{}, unavailablef("the registry %s answers %s", server, last.Status)
}
