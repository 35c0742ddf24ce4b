package runtime

import (
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// An imageName is what a user calls an image, in full:
// docker.io/library/nginx:alpine, or …@sha256:….
type imageName struct {
	named  reference.Named // with its tag or its digest, not both
	digest digest.Digest   // "" when the image is meant by its tag
}

// parseImageName completes what a user has written. Where a tag and a digest are
// given, the digest is what counts, as with Docker.
func parseImageName(text string) (imageName, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err != nil {
		return imageName{}, invalidf("invalid reference format: %q: %s", text, err)
	}
	if canonical, ok := named.(reference.Canonical); ok {
		if named, err = reference.WithDigest(reference.TrimNamed(named), canonical.Digest()); err != nil {
			return imageName{}, invalidf("invalid reference format: %q: %s", text, err)
		}
		return imageName{named, canonical.Digest()}, nil
	}
	return imageName{named: reference.TagNameOnly(named)}, nil
}

// full is the name by which containerd knows the image.
func (n imageName) full() string { return n.named.String() }

// familiar is the name as Docker shows it.
func (n imageName) familiar() string { return reference.FamiliarString(n.named) }

// repository is the name without its tag or digest.
func (n imageName) repository() string { return n.named.Name() }

func (n imageName) host() string { return reference.Domain(n.named) }

// at is the same repository's image with a digest.
func (n imageName) at(d digest.Digest) string { return n.named.Name() + "@" + d.String() }

// unnamedPrefix begins the names, in containerd, of images without a name.
const unnamedPrefix = "unnamed.invalid/image@"

// familiarName is how Docker shows an image that containerd knows by a name. It
// reports false when the name is not to be shown.
func familiarName(full string) (text string, tagged, ok bool) {
	if strings.HasPrefix(full, unnamedPrefix) {
		return "", false, false
	}
	named, err := reference.ParseNormalizedNamed(full)
	if err != nil {
		return "", false, false
	}
	_, isDigest := named.(reference.Digested)
	return reference.FamiliarString(named), !isDigest, true
}

// idForm is an image's ID, or the beginning of one.
const idForm = `^(?:sha256:[0-9a-f]{1,64}|[0-9a-f]{4,64})$`

// idPrefix is the hexadecimal beginning of an ID that text may be.
func idPrefix(text string) (string, bool) {
	if !regexp.MustCompile(idForm).MatchString(text) {
		return "", false
	}
	return strings.TrimPrefix(text, "sha256:"), true
}
