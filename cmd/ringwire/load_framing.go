package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/ringwire/ringwire/load/wire"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// framingFlags are how frames look.
type framingFlags struct {
	preset   string
	length   string
	adjust   int
	id       string
	replyID  int
	maxFrame int
}

func (f *framingFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.preset, "framing", "anet", "name of a framing; the flags below change it; see above")
	flags.StringVar(&f.length, "len", "", "where the length stands: off=0,len=2,form=be; without --framing nothing else is set")
	flags.IntVar(&f.adjust, "len-adj", 0, "a frame's bytes beyond the length field = its value + this")
	flags.StringVar(&f.id, "id", "", "where a request's ID stands: off=2,len=4,form=be, or what of it is another than the framing's: len=8, dec; none: replies come in order; iso8583:11,41: in field 11 of an ISO 8583 message, matched with 41, too")
	flags.IntVar(&f.replyID, "resp-id", 0, "offset of the ID in a reply (default as in a request)")
	flags.IntVar(&f.maxFrame, "max-frame", 0, "largest frame in bytes (default what the length can say, at most 16 MiB)")
}

// framingHelp lists the presets.
func framingHelp() string {
	var b strings.Builder
	b.WriteString("Framings:\n")
	for _, name := range wire.PresetNames() {
		fmt.Fprintf(&b, "  %-10s %s\n", name, wire.About(name))
	}
	forms := fmt.Sprint(wire.Forms())
	fmt.Fprintf(&b, "Forms of numbers: %s.", strings.ReplaceAll(strings.Trim(forms, "[]"), " ", ", "))
	return b.String()
}

// codec makes the framing of the flags. Without --framing, --len begins with nothing.
func (f *framingFlags) codec(given func(string) bool) (*wire.Codec, error) {
	spec, err := wire.Preset(f.preset)
	if err != nil {
		return nil, fmt.Errorf("--%w", err)
	}
	if given("len") {
		if !given("framing") {
			spec = wire.Spec{}
		}
		if spec.Length, err = parseField("len", f.length, wire.Field{Form: wire.Big}); err != nil {
			return nil, err
		}
	}
	if given("len-adj") {
		spec.Adjust = f.adjust
	}
	if given("id") {
		if err := f.setID(&spec); err != nil {
			return nil, err
		}
	}
	if given("resp-id") {
		if len(spec.Message.Key) > 0 {
			return nil, errors.New("--resp-id: the ID is in a field of a message, wherever that is")
		}
		if spec.Ordered() {
			return nil, errors.New("--resp-id: there is no ID: give --id, too")
		}
		spec.ReplyID = f.replyID
	}
	if given("max-frame") {
		if f.maxFrame <= 0 {
			return nil, fmt.Errorf("--max-frame %d: must be above 0", f.maxFrame)
		}
		spec.MaxFrame = f.maxFrame
	}
	return wire.New(spec)
}

// setID puts --id into a framing. What it does not name stays as it is.
func (f *framingFlags) setID(spec *wire.Spec) (err error) {
	if f.id == "none" {
		spec.ID, spec.ReplyID, spec.IDMin, spec.IDMax, spec.Message = wire.Field{}, 0, 0, 0, wire.Message{}
		return nil
	}
	if key, ok := strings.CutPrefix(f.id, "iso8583:"); ok {
		spec.IDMin, spec.IDMax, spec.Reply = 0, 0, wire.Mark{}
		if spec.Message, err = wire.ParseMessage(key); err != nil {
			err = fmt.Errorf("--id %w", err)
		}
		return err
	}
	spec.Message = wire.Message{}
	base, text := spec.ID, f.id
	if base.Form == "" {
		base.Form = wire.Big
	}
	if slices.Contains(wire.Forms(), wire.Form(text)) {
		text = "form=" + text
	}
	id, err := parseField("id", text, base)
	if err != nil {
		return err
	}
	if id.Offset != base.Offset || spec.Ordered() {
		spec.ReplyID = id.Offset
	}
	if id.Size != base.Size || id.Form != base.Form {
		spec.IDMin, spec.IDMax = 0, 0 // as far as the field goes
	}
	spec.ID = id
	return nil
}

// parseField reads off=N,len=N, and form=F where numbers have one, which is where base has.
// What is not named is as in base.
func parseField(flag, text string, base wire.Field) (f wire.Field, err error) {
	f = base
	form := base.Form != ""
	want := "off=0,len=2"
	if form {
		want += ",form=be"
	}
	for part := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(part, "=")
		n, bad := strconv.Atoi(value)
		switch {
		case key == "form" && form:
			f.Form = wire.Form(value)
			continue
		case key == "off" && bad == nil:
			f.Offset = n
		case key == "len" && bad == nil:
			f.Size = n
		default:
			return f, fmt.Errorf("--%s %q: must look like %s", flag, text, want)
		}
	}
	if f.Size == 0 {
		return f, fmt.Errorf("--%s %q: has no len: must look like %s", flag, text, want)
	}
	return f, nil
}

// completeValues has shells complete the values of flags that are one of a few.
func completeValues(cmd *cobra.Command) {
	var framings []cobra.Completion
	for _, name := range wire.PresetNames() {
		framings = append(framings, cobra.CompletionWithDesc(name, wire.About(name)))
	}
	for flag, values := range map[string][]cobra.Completion{
		"framing": framings, "arrivals": {"even", "poisson"}, "order": {"sequential", "random", "unique"},
	} {
		// Its only error is of a flag that does not exist, or has values already.
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
