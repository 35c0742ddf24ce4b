package main

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
)

// registryAuth is what docker's configuration knows about the registry of an
// image, as the API takes it; empty credentials if it knows nothing.
func registryAuth(ctx context.Context, s *session, image string) string {
	const hub, hubKey = "docker.io", "https://index.docker.io/v1/"
	var auth registry.AuthConfig
	if named, err := reference.ParseNormalizedNamed(image); err == nil {
		server := reference.Domain(named)
		if server == hub {
			server = hubKey
		}
		if auth, err = credentials(ctx, s.env, server); err != nil {
			s.warn("WARNING: the credentials for %s could not be read, none are sent: %v\n", server, err)
		}
	}
	encoded, err := authconfig.Encode(auth)
	if err != nil {
		return ""
	}
	return encoded
}

// A dockerConfig is what this program reads of docker's configuration file.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		IdentityToken string `json:"identitytoken"`
		RegistryToken string `json:"registrytoken"`
	} `json:"auths"`
	Store   string            `json:"credsStore"`
	Helpers map[string]string `json:"credHelpers"`
}

// credentials finds those of a registry in $DOCKER_CONFIG/config.json, by default
// that of ~/.docker, or asks the helper that is configured for them.
func credentials(ctx context.Context, env func(string) string, server string) (registry.AuthConfig, error) {
	folder := env("DOCKER_CONFIG")
	if folder == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return registry.AuthConfig{}, nil //nolint:nilerr // no home, no credentials
		}
		folder = filepath.Join(home, ".docker")
	}
	file := filepath.Join(folder, "config.json")
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return registry.AuthConfig{}, nil
	}
	if err != nil {
		return registry.AuthConfig{}, err
	}
	var config dockerConfig
	if err := json.Unmarshal(data, &config); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("%s: %w", file, err)
	}
	if helper := cmp.Or(config.Helpers[server], config.Store); helper != "" {
		return askHelper(ctx, helper, server)
	}
	for key, entry := range config.Auths {
		if key != server && registryHost(key) != server {
			continue
		}
		auth := registry.AuthConfig{IdentityToken: entry.IdentityToken, RegistryToken: entry.RegistryToken, ServerAddress: key}
		plain, err := base64.StdEncoding.DecodeString(entry.Auth)
		if err != nil {
			return registry.AuthConfig{}, fmt.Errorf("%s: auths.%s.auth is not base64: %w", file, key, err)
		}
		auth.Username, auth.Password, _ = strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
		return auth, nil
	}
	return registry.AuthConfig{}, nil
}

// registryHost is the host in a registry's address.
func registryHost(address string) string {
	address = strings.TrimPrefix(strings.TrimPrefix(address, "https://"), "http://")
	host, _, _ := strings.Cut(address, "/")
	return host
}

// askHelper runs docker-credential-HELPER, which is told a registry on its
// standard input and answers in JSON.
func askHelper(ctx context.Context, helper, server string) (registry.AuthConfig, error) {
	const token = "<token>" // the user name of an identity token
	program := exec.CommandContext(ctx, "docker-credential-"+helper, "get")
	program.Stdin = strings.NewReader(server)
	answer, err := program.Output()
	if strings.Contains(string(answer), "credentials not found") {
		return registry.AuthConfig{}, nil
	}
	if err != nil {
		return registry.AuthConfig{}, fmt.Errorf("%s: %w", program.Path, err)
	}
	var found struct{ Username, Secret string }
	if err := json.Unmarshal(answer, &found); err != nil {
		return registry.AuthConfig{}, fmt.Errorf("%s: %w", program.Path, err)
	}
	if found.Username == token {
		return registry.AuthConfig{IdentityToken: found.Secret, ServerAddress: server}, nil
	}
	return registry.AuthConfig{Username: found.Username, Password: found.Secret, ServerAddress: server}, nil
}
