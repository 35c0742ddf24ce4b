package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/distribution/reference"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"

	"github.com/swarmd/swarmd/cmd/swarmctl/request"
)

// This file has the commands that move images: pull, load, import, save.

func newImagePull(s *session) *cobra.Command {
	var (
		all, quiet, trust bool
		only              string
	)
	c := &cobra.Command{
		Use:               "pull [OPTIONS] NAME[:TAG|@DIGEST]",
		Short:             "Download an image from a registry",
		Args:              exactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, args []string) error {
			named, err := reference.ParseNormalizedNamed(args[0])
			switch {
			case err != nil:
				return err
			case all && !reference.IsNameOnly(named):
				return errors.New("tag can't be used with --all-tags/-a")
			case !all && reference.IsNameOnly(named):
				named = reference.TagNameOnly(named)
				if tagged, ok := named.(reference.Tagged); ok && !quiet {
					s.print("Using default tag: %s\n", tagged.Tag())
				}
			}
			options := client.ImagePullOptions{All: all, RegistryAuth: registryAuth(c.Context(), s, args[0])}
			if only != "" {
				if options.Platforms, err = parsePlatforms([]string{only}); err != nil {
					return err
				}
			}
			stream, err := s.client.ImagePull(c.Context(), reference.FamiliarString(named), options)
			if err != nil {
				return err
			}
			defer stream.Close()
			out := s.out
			if quiet {
				out = io.Discard
			}
			if err := showMessages(stream, out); err != nil {
				return err
			}
			s.print("%s\n", named)
			return nil
		},
	}
	c.Flags().BoolVarP(&all, "all-tags", "a", false, "Download all tagged images in the repository")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress verbose output")
	c.Flags().StringVar(&only, "platform", "", "Set platform if server is multi-platform capable")
	c.Flags().BoolVar(&trust, "disable-content-trust", true, "Skip image verification")
	_ = c.Flags().MarkHidden("disable-content-trust")
	return c
}

func newImageLoad(s *session) *cobra.Command {
	var (
		input string
		quiet bool
		only  []string
	)
	c := &cobra.Command{
		Use:               "load [OPTIONS]",
		Short:             "Load an image from a tar archive or STDIN",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			wanted, err := parsePlatforms(only)
			if err != nil {
				return err
			}
			archive, err := s.open(input)
			if err != nil {
				return err
			}
			defer archive.Close()
			var options []client.ImageLoadOption
			if quiet || terminal(s.out) == nil {
				options = append(options, client.ImageLoadWithQuiet(true))
			}
			if len(wanted) > 0 {
				options = append(options, client.ImageLoadWithPlatforms(wanted...))
			}
			answer, err := s.client.ImageLoad(c.Context(), archive, options...)
			if err != nil {
				return err
			}
			defer answer.Close()
			return showMessages(answer, s.out)
		},
	}
	c.Flags().StringVarP(&input, "input", "i", "", "Read from tar archive file, instead of STDIN")
	c.Flags().BoolVarP(&quiet, "quiet", "q", false, "Suppress the load output")
	platformFlag(c, &only, "Load only the given platform(s).")
	return c
}

func newImageImport(s *session) *cobra.Command {
	var (
		options client.ImageImportOptions
		only    string
	)
	c := &cobra.Command{
		Use:   "import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]",
		Short: "Import the contents from a tarball to create a filesystem image",
		Args:  minArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			source := client.ImageImportSource{SourceName: args[0]}
			if !strings.HasPrefix(args[0], "http://") && !strings.HasPrefix(args[0], "https://") {
				archive, err := s.open(args[0])
				if err != nil {
					return err
				}
				defer archive.Close()
				source = client.ImageImportSource{Source: archive, SourceName: "-"}
			}
			target := ""
			if len(args) > 1 {
				target = args[1]
			}
			if only != "" {
				wanted, err := parsePlatforms([]string{only})
				if err != nil {
					return err
				}
				options.Platform = wanted[0]
			} else {
				options.Platform = ocispec.Platform{}
			}
			answer, err := s.client.ImageImport(c.Context(), source, target, options)
			if err != nil {
				return err
			}
			defer answer.Close()
			return showMessages(answer, s.out)
		},
	}
	request.List(c.Flags(), &options.Changes, "change", "c", "Apply Dockerfile instruction to the created image", nil)
	c.Flags().StringVarP(&options.Message, "message", "m", "", "Set commit message for imported image")
	c.Flags().StringVar(&only, "platform", "", "Set platform if server is multi-platform capable")
	return c
}

func newImageSave(s *session) *cobra.Command {
	var (
		output string
		only   []string
	)
	c := &cobra.Command{
		Use:               "save [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Save one or more images to a tar archive (streamed to STDOUT by default)",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeImages(0),
		RunE: func(c *cobra.Command, args []string) error {
			if output == "" && terminal(s.out) != nil {
				return errors.New("cowardly refusing to save to a terminal. Use the -o flag or redirect")
			}
			wanted, err := parsePlatforms(only)
			if err != nil {
				return err
			}
			var options []client.ImageSaveOption
			if len(wanted) > 0 {
				options = append(options, client.ImageSaveWithPlatforms(wanted...))
			}
			archive, err := s.client.ImageSave(c.Context(), args, options...)
			if err != nil {
				return err
			}
			defer archive.Close()
			if output == "" {
				_, err = io.Copy(s.out, archive)
				return err
			}
			return writeFile(output, archive)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "", "Write to a file, instead of STDOUT")
	platformFlag(c, &only, "Save only the given platform(s).")
	return c
}

// writeFile writes a file that is there whole or not at all.
func writeFile(name string, content io.Reader) error {
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // it has another name by then, or goes with its directory
	_, err = io.Copy(file, content)
	if err := errors.Join(err, file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), name)
}
