package control

import "strings"

const (
	imagePathBytesMax = 255 // of a repository's name
	imageTagBytesMax  = 128
)

// validImage reports whether s names an image as the docker CLI writes them:
// [domain/]path[:tag][@digest]. The grammar is that of the distribution project's
// reference package, where a first component without ".", ":" or an upper-case
// letter, and other than "localhost", is part of the path.
func validImage(s string) bool {
	if len(s) == 64 && isLowerHex(s) {
		return false // would be taken for an image's ID
	}
	domain, rest := "", s
	if head, tail, ok := strings.Cut(s, "/"); ok &&
		(head == "localhost" || strings.ContainsAny(head, ".:") || strings.ToLower(head) != head) {
		domain, rest = head, tail
		if !validDomain(domain) {
			return false
		}
	}
	rest, digest, hasDigest := strings.Cut(rest, "@")
	if hasDigest && !validDigest(digest) {
		return false
	}
	path, tag, hasTag := strings.Cut(rest, ":")
	if hasTag && !validTag(tag) {
		return false
	}
	return validPath(path)
}

// validPath checks components of lower-case letters and digits, joined within by
// one dot, one or two underscores, or any number of dashes.
func validPath(path string) bool {
	full := len(path)
	if !strings.Contains(path, "/") {
		full += len("library/") // as it is when it has been normalised
	}
	if full > imagePathBytesMax {
		return false
	}
	for component := range strings.SplitSeq(path, "/") {
		if !validComponent(component) {
			return false
		}
	}
	return true
}

func validComponent(s string) bool {
	separator := "" // the run of separators before i
	letters := false
	for i := range len(s) {
		c := s[i]
		switch {
		case isLower(c) || isDigit(c):
			if separator != "" && !validSeparator(separator) {
				return false
			}
			separator, letters = "", true
		case (c == '.' || c == '_' || c == '-') && letters:
			separator += string(c)
		default:
			return false
		}
	}
	return letters && separator == ""
}

func validSeparator(s string) bool {
	return s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}

func validTag(s string) bool {
	if s == "" || len(s) > imageTagBytesMax || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '_' && s[i] != '.' && s[i] != '-' {
			return false
		}
	}
	return true
}

// validDigest checks algorithm:hex, where known algorithms fix the length.
func validDigest(s string) bool {
	algorithm, hex, ok := strings.Cut(s, ":")
	if !ok || !isLowerHex(hex) {
		return false
	}
	switch algorithm {
	case "sha256":
		return len(hex) == 64
	case "sha384":
		return len(hex) == 96
	case "sha512":
		return len(hex) == 128
	default:
		return false // the reference implementation knows no other
	}
}

// validDomain checks host[:port], where a host is dotted names or a bracketed
// IPv6 address.
func validDomain(s string) bool {
	host := s
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 2 {
			return false
		}
		for i := 1; i < end; i++ {
			if !isHex(s[i]) && s[i] != ':' {
				return false
			}
		}
		return s[end+1:] == "" || validPort(s[end+1:])
	}
	if i := strings.IndexByte(s, ':'); i >= 0 {
		if !validPort(s[i:]) {
			return false
		}
		host = s[:i]
	}
	for part := range strings.SplitSeq(host, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' {
			return false
		}
		for i := range len(part) {
			if !isAlphanumeric(part[i]) && part[i] != '-' {
				return false
			}
		}
	}
	return true
}

// validPort checks a colon followed by digits.
func validPort(s string) bool {
	if len(s) < 2 || s[0] != ':' {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !isDigit(s[i]) {
			return false
		}
	}
	return true
}

// validName matches Docker's ^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$.
func validName(s string) bool {
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' && s[i] != '_' {
			return false
		}
	}
	return s != "" && isAlphanumeric(s[0]) && isAlphanumeric(s[len(s)-1])
}

func isLowerHex(s string) bool {
	for i := range len(s) {
		if !isDigit(s[i]) && (s[i] < 'a' || s[i] > 'f') {
			return false
		}
	}
	return s != ""
}

func isDigit(c byte) bool        { return c >= '0' && c <= '9' }
func isLower(c byte) bool        { return c >= 'a' && c <= 'z' }
func isAlphanumeric(c byte) bool { return isDigit(c) || isLower(c) || c >= 'A' && c <= 'Z' }
func isHex(c byte) bool {
	return isDigit(c) || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
