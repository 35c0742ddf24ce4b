package api

import (
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/registry"

	"github.com/swarmd/swarmd/engine/control"
)

// A progressStream is an answer that is one JSON message after another. It
// begins with the first message: an error before that has a status.
type progressStream struct {
	w     http.ResponseWriter
	begun bool
}

func (p *progressStream) send(message jsonstream.Message) {
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	}
	// A client that has gone ends the operation through the request's context.
	_ = encoderOf(p.w).Encode(struct {
		jsonstream.Message
		ErrorMessage string `json:"error,omitempty"` // what clients of before API 1.4 read
	}{message, errorOf(message)})
	_ = http.NewResponseController(p.w).Flush()
}

func errorOf(message jsonstream.Message) string {
	if message.Error == nil {
		return ""
	}
	return message.Error.Message
}

// end ends the stream with the operation's error, if it had one and the status
// is out already.
func (p *progressStream) end(err error) error {
	switch {
	case err == nil && !p.begun:
		p.w.Header().Set("Content-Type", "application/json")
		p.w.WriteHeader(http.StatusOK)
	case err != nil && p.begun:
		p.send(jsonstream.Message{Error: &jsonstream.Error{Message: messageOf(err)}})
	case err != nil:
		return err
	}
	return nil
}

func (s *Server) listImages(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "dangling", "label", "reference"); err != nil {
		return err
	}
	all, err := s.runtime.Images(r.Context())
	if err != nil {
		return err
	}
	kept := slices.DeleteFunc(slices.Clone(all), func(summary image.Summary) bool { return !imageMatches(summary, filters) })
	for n := range kept {
		kept[n] = namedAs(kept[n], filters["reference"])
	}
	slices.SortStableFunc(kept, func(a, b image.Summary) int { return int(b.Created - a.Created) })
	old := !versionOf(r.Context()).atLeast(44)
	writeList(w, kept, func(_ int, summary image.Summary) any {
		if !old {
			return summary
		}
		return struct {
			image.Summary
			VirtualSize int64 // gone since API 1.44
		}{summary, summary.Size}
	})
	return nil
}

func imageMatches(summary image.Summary, filters control.Filters) bool {
	dangling := len(summary.RepoTags) == 0
	if !anyOf(filters["dangling"], func(want string) bool { return truth(want) == dangling }) {
		return false
	}
	if !labelled(summary.Labels, filters["label"]) {
		return false
	}
	return anyOf(filters["reference"], func(pattern string) bool {
		names := slices.Concat(summary.RepoTags, summary.RepoDigests)
		return slices.ContainsFunc(names, func(name string) bool { return referenceMatches(pattern, name) })
	})
}

// namedAs is an image with those of its names that were asked for.
func namedAs(summary image.Summary, patterns []string) image.Summary {
	if len(patterns) == 0 {
		return summary
	}
	other := func(name string) bool {
		return !anyOf(patterns, func(pattern string) bool { return referenceMatches(pattern, name) })
	}
	summary.RepoTags = slices.DeleteFunc(slices.Clone(summary.RepoTags), other)
	summary.RepoDigests = slices.DeleteFunc(slices.Clone(summary.RepoDigests), other)
	return summary
}

// referenceMatches compares a name, with and without its tag, with a pattern as
// of [path.Match].
func referenceMatches(pattern, name string) bool {
	for _, candidate := range []string{name, withoutTag(name)} {
		if ok, err := path.Match(pattern, candidate); err == nil && ok {
			return true
		}
	}
	return false
}

func truth(value string) bool {
	parsed, err := strconv.ParseBool(value)
	return err == nil && parsed
}

// createImage pulls an image, or imports one from the body.
func (s *Server) createImage(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	name, source := query.Get("fromImage"), query.Get("fromSrc")
	stream := &progressStream{w: w}
	switch {
	case name != "":
		return stream.end(s.runtime.PullImage(r.Context(), joinTag(name, query.Get("tag")), query.Get("platform"),
			r.Header.Get(registry.AuthHeader), stream.send))
	case source == "-":
		return s.importImage(w, r)
	case source != "":
		return fail(http.StatusNotImplemented, "swarmd does not fetch images from a URL: download it, then 'docker import FILE'")
	default:
		return badRequest("nothing to create an image from: fromImage or fromSrc must be given")
	}
}

// joinTag is the reference that name and tag make; a name without either gets
// "latest", where Docker would pull every tag there is.
func joinTag(name, tag string) string {
	switch {
	case tag == "" && (strings.Contains(name, "@") || withoutTag(name) != name):
		return name
	case tag == "":
		return name + ":latest"
	case strings.Contains(tag, ":"):
		return name + "@" + tag
	default:
		return name + ":" + tag
	}
}

func (s *Server) importImage(w http.ResponseWriter, r *http.Request) error {
	query := queryOf(r)
	options := ImportOptions{Message: query.Get("message"), Platform: query.Get("platform"), Changes: query["changes"]}
	if repo := query.Get("repo"); repo != "" {
		options.Ref = joinTag(repo, query.Get("tag"))
	}
	stream := &progressStream{w: w}
	id, err := s.runtime.ImportImage(r.Context(), r.Body, options)
	if err == nil {
		stream.send(jsonstream.Message{Status: id})
	}
	return stream.end(err)
}

func (s *Server) loadImages(w http.ResponseWriter, r *http.Request) error {
	stream := &progressStream{w: w}
	return stream.end(s.runtime.LoadImages(r.Context(), r.Body, stream.send))
}

// saveImages writes an archive. An error after its first byte breaks it off.
func (s *Server) saveImages(w http.ResponseWriter, r *http.Request) error {
	var names []string
	for _, given := range queryOf(r)["names"] {
		names = append(names, strings.Split(given, ",")...)
	}
	return s.writeArchive(w, r, names)
}

func (s *Server) writeArchive(w http.ResponseWriter, r *http.Request, names []string) error {
	if len(names) == 0 {
		return badRequest("no image to save: names must be given")
	}
	for _, name := range names {
		if _, err := s.runtime.Image(r.Context(), name); err != nil {
			return err
		}
	}
	w.Header().Set("Content-Type", "application/x-tar")
	if err := s.runtime.SaveImages(r.Context(), names, w); err != nil {
		if begun(w) {
			s.refuse(w, r, err)
			panic(http.ErrAbortHandler) //nolint:forbidigo // A short archive must not look whole.
		}
		return err
	}
	return nil
}

// getImage is GET /images/{name}/…, where the name has slashes in it.
func (s *Server) getImage(w http.ResponseWriter, r *http.Request) error {
	rest := r.PathValue("rest")
	if name, ok := strings.CutSuffix(rest, "/json"); ok && name != "" {
		answer, err := s.runtime.Image(r.Context(), name)
		if err != nil {
			return err
		}
		writeJSON(w, http.StatusOK, answer)
		return nil
	}
	if name, ok := strings.CutSuffix(rest, "/get"); ok && name != "" {
		return s.writeArchive(w, r, []string{name})
	}
	switch {
	case rest == "search":
		return fail(http.StatusNotImplemented, "swarmd does not search registries: look in the registry's own pages, then 'docker pull'")
	case strings.HasSuffix(rest, "/history"):
		return fail(http.StatusNotImplemented, "swarmd does not show how an image was built: 'docker image inspect' shows its layers and configuration")
	}
	return fail(http.StatusNotFound, "page not found")
}

// postImage is POST /images/{name}/….
func (s *Server) postImage(w http.ResponseWriter, r *http.Request) error {
	rest := r.PathValue("rest")
	if name, ok := strings.CutSuffix(rest, "/tag"); ok && name != "" {
		query := queryOf(r)
		if query.Get("repo") == "" {
			return badRequest("no name to give the image: repo must be given")
		}
		if err := s.runtime.TagImage(r.Context(), name, joinTag(query.Get("repo"), query.Get("tag"))); err != nil {
			return err
		}
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	if strings.HasSuffix(rest, "/push") {
		return fail(http.StatusNotImplemented, "swarmd does not push images: 'docker save' writes an archive that tools for registries push")
	}
	return fail(http.StatusNotFound, "page not found")
}

func (s *Server) removeImage(w http.ResponseWriter, r *http.Request) error {
	removed, err := s.runtime.RemoveImage(r.Context(), r.PathValue("rest"), loose(queryOf(r), "force"))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, append([]image.DeleteResponse{}, removed...))
	return nil
}

func (s *Server) pruneImages(w http.ResponseWriter, r *http.Request) error {
	filters, err := filtersOf(queryOf(r))
	if err != nil {
		return err
	}
	if err := knownFilters(filters, "dangling"); err != nil {
		return err
	}
	all := slices.ContainsFunc(filters["dangling"], func(value string) bool { return !truth(value) })
	report, err := s.runtime.PruneImages(r.Context(), all)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, report)
	return nil
}
