package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/docker/cli/cli/command/formatter"
	"github.com/docker/go-units"
	"github.com/moby/moby/client"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/spf13/cobra"
)

func newImage(s *session) *cobra.Command {
	list := newImageList(s)
	list.Use, list.Aliases = "ls [OPTIONS] [REPOSITORY[:TAG]]", []string{"list"}
	remove := newImageRemove(s)
	remove.Use, remove.Aliases = "rm [OPTIONS] IMAGE [IMAGE...]", []string{"remove"}
	return group("image", "Manage this host's images", append(imageCommands(s), list, remove, newImageHistory(s), newImageInspect(s), newImagePrune(s))...)
}

// newImageShortcuts are the commands about images without the noun.
func newImageShortcuts(s *session) []*cobra.Command {
	return append(imageCommands(s), newImageList(s), newImageRemove(s), newImageHistory(s))
}

// imageCommands have the same name with the noun and without.
func imageCommands(s *session) []*cobra.Command {
	return []*cobra.Command{newImageImport(s), newImageLoad(s), newImagePull(s), newImageSave(s), newImageTag(s)}
}

func newImageList(s *session) *cobra.Command {
	var (
		options               client.ImageListOptions
		filters               filterFlag
		format                string
		quiet, whole, digests bool
	)
	c := &cobra.Command{
		Use:               "images [OPTIONS] [REPOSITORY[:TAG]]",
		Short:             "List images",
		Args:              maxArgs(1),
		ValidArgsFunction: s.completeImages(1),
		RunE: func(c *cobra.Command, args []string) error {
			options.Filters = filters.filters
			if len(args) > 0 {
				if options.Filters == nil {
					options.Filters = client.Filters{}
				}
				options.Filters.Add("reference", args[0])
			}
			found, err := s.client.ImageList(c.Context(), options)
			if err != nil {
				return err
			}
			if format == "" {
				format = formatter.TableFormatKey
			}
			return formatter.ImageWrite(formatter.ImageContext{
				Context: formatter.Context{Output: s.out, Format: formatter.NewImageFormat(format, quiet, digests), Trunc: !whole},
				Digest:  digests,
			}, found.Items)
		},
	}
	flags := c.Flags()
	flags.BoolVarP(&quiet, "quiet", "q", false, "Only show image IDs")
	flags.BoolVarP(&options.All, "all", "a", false, "Show all images (default hides intermediate images)")
	flags.BoolVar(&whole, "no-trunc", false, "Don't truncate output")
	flags.BoolVar(&digests, "digests", false, "Show digests")
	flags.StringVar(&format, "format", "", formatUsage)
	flags.VarP(&filters, "filter", "f", "Filter output based on conditions provided")
	return c
}

func newImageInspect(s *session) *cobra.Command {
	var format string
	c := &cobra.Command{
		Use:               "inspect [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Display detailed information on one or more images",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeImages(0),
		RunE: func(c *cobra.Command, args []string) error {
			return inspect(s, args, format, s.image(c.Context()))
		},
	}
	c.Flags().StringVarP(&format, "format", "f", "", inspectFormatUsage)
	return c
}

func (s *session) image(ctx context.Context) getter {
	return func(name string) (any, []byte, error) {
		var raw bytes.Buffer
		found, err := s.client.ImageInspect(ctx, name, client.ImageInspectWithRawResponse(&raw))
		return found.InspectResponse, raw.Bytes(), err
	}
}

func newImageRemove(s *session) *cobra.Command {
	var (
		force, keep bool
		only        []string
	)
	c := &cobra.Command{
		Use:               "rmi [OPTIONS] IMAGE [IMAGE...]",
		Short:             "Remove one or more images",
		Args:              minArgs(1),
		ValidArgsFunction: s.completeImages(0),
		RunE: func(c *cobra.Command, args []string) error {
			wanted, err := parsePlatforms(only)
			if err != nil {
				return err
			}
			grave := false
			failed := each(args, func(name string) error {
				removed, err := s.client.ImageRemove(c.Context(), name, client.ImageRemoveOptions{Force: force, PruneChildren: !keep, Platforms: wanted})
				grave = grave || err != nil && !errdefs.IsNotFound(err)
				for _, item := range removed.Items {
					if item.Deleted != "" {
						s.print("Deleted: %s\n", item.Deleted)
					} else {
						s.print("Untagged: %s\n", item.Untagged)
					}
				}
				return err
			})
			if failed != nil && force && !grave {
				s.warn("%s\n", failed)
				return nil
			}
			return failed
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Force removal of the image")
	c.Flags().BoolVar(&keep, "no-prune", false, "Do not delete untagged parents")
	platformFlag(c, &only, "Remove only the given platform variant.")
	return c
}

// platformFlag adds --platform, which takes os[/arch[/variant]], several with
// commas between.
func platformFlag(c *cobra.Command, only *[]string, usage string) {
	c.Flags().StringSliceVar(only, "platform", nil, usage+` Formatted as "os[/arch[/variant]]" (e.g., "linux/amd64")`)
	_ = c.RegisterFlagCompletionFunc("platform", oneOf("linux/amd64", "linux/arm64", "linux/arm/v7"))
}

func parsePlatforms(words []string) ([]ocispec.Platform, error) {
	found := make([]ocispec.Platform, 0, len(words))
	for _, word := range words {
		platform, err := platforms.Parse(word)
		if err != nil {
			return nil, fmt.Errorf("invalid platform: %w", err)
		}
		found = append(found, platform)
	}
	return found, nil
}

func newImageTag(s *session) *cobra.Command {
	return &cobra.Command{
		Use:               "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
		Short:             "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE",
		Args:              exactArgs(2),
		ValidArgsFunction: s.completeImages(2),
		RunE: func(c *cobra.Command, args []string) error {
			_, err := s.client.ImageTag(c.Context(), client.ImageTagOptions{Source: args[0], Target: args[1]})
			return err
		},
	}
}

func newImagePrune(s *session) *cobra.Command {
	var (
		all, force bool
		filters    filterFlag
	)
	c := &cobra.Command{
		Use:   "prune [OPTIONS]",
		Short: "Remove unused images",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			warning := "WARNING! This will remove all dangling images."
			if all {
				warning = "WARNING! This will remove all images without at least one container associated to them."
			}
			if !force && !s.confirm(warning+"\nAre you sure you want to continue?") {
				return nil
			}
			wanted := filters.filters
			if wanted == nil {
				wanted = client.Filters{}
			}
			pruned, err := s.client.ImagePrune(c.Context(), client.ImagePruneOptions{Filters: wanted.Add("dangling", strconv.FormatBool(!all))})
			if err != nil {
				return err
			}
			if len(pruned.Report.ImagesDeleted) > 0 {
				s.print("Deleted Images:\n")
				for _, item := range pruned.Report.ImagesDeleted {
					if item.Untagged != "" {
						s.print("untagged: %s\n", item.Untagged)
					} else {
						s.print("deleted: %s\n", item.Deleted)
					}
				}
				s.print("\n")
			}
			s.print("Total reclaimed space: %s\n", units.HumanSize(float64(pruned.Report.SpaceReclaimed)))
			return nil
		},
	}
	c.Flags().BoolVarP(&force, "force", "f", false, "Do not prompt for confirmation")
	c.Flags().BoolVarP(&all, "all", "a", false, "Remove all unused images, not just dangling ones")
	c.Flags().Var(&filters, "filter", `Provide filter values (e.g. "until=<timestamp>")`)
	return c
}

// confirm asks a question that only y or yes answers.
func (s *session) confirm(question string) bool {
	s.print("%s [y/N] ", question)
	answer, err := bufio.NewReader(s.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return false
	}
	answer = strings.ToLower(strings.TrimSpace(answer))
	return answer == "y" || answer == "yes"
}

func newImageHistory(s *session) *cobra.Command {
	var human bool
	l := &listing{
		columns: []column{
			{"ID", "IMAGE"}, {"CreatedSince", "CREATED"}, {"CreatedAt", "CREATED AT"}, {"CreatedBy", "CREATED BY"}, {"Size", "SIZE"}, {"Comment", "COMMENT"},
		},
	}
	c := &cobra.Command{
		Use:               "history [OPTIONS] IMAGE",
		Short:             "Show the history of an image",
		Args:              exactArgs(1),
		ValidArgsFunction: s.completeImages(1),
		RunE: func(c *cobra.Command, args []string) error {
			const createdByMax = 45
			found, err := s.client.ImageHistory(c.Context(), args[0])
			if err != nil {
				return err
			}
			l.shown = "table {{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
			if !human {
				l.shown = "table {{.ID}}\t{{.CreatedAt}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}"
			}
			rows := make([]row, 0, len(found.Items))
			for _, layer := range found.Items {
				created := time.Unix(layer.Created, 0)
				by := strings.ReplaceAll(layer.CreatedBy, "\t", " ")
				if !l.noTrunc {
					by = formatter.Ellipsis(by, createdByMax)
				}
				since, size := ago(created), units.HumanSizeWithPrecision(float64(layer.Size), 3)
				if !human {
					since, size = created.Format(time.RFC3339), strconv.FormatInt(layer.Size, 10)
				}
				rows = append(rows, row{
					"ID": l.short(layer.ID), "CreatedSince": since, "CreatedAt": created.Format(time.RFC3339),
					"CreatedBy": by, "Size": size, "Comment": layer.Comment,
				})
			}
			return l.write(s, rows)
		},
	}
	c.Flags().BoolVarP(&human, "human", "H", true, "Print sizes and dates in human readable format")
	c.Flags().BoolVarP(&l.quiet, "quiet", "q", false, "Only show image IDs")
	c.Flags().StringVar(&l.format, "format", "", formatUsage)
	l.trunc(c)
	return c
}

// open opens what a command reads: a file, or standard input for "" and "-".
func (s *session) open(name string) (io.ReadCloser, error) {
	if name != "" && name != "-" {
		return os.Open(name)
	}
	if terminal(s.in) != nil {
		return nil, errors.New("requested load from stdin, but stdin is empty")
	}
	return io.NopCloser(s.in), nil
}
