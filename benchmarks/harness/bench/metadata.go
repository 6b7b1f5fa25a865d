package bench

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Host is the machine, and what the program was built with.
type Host struct {
	Go         string `json:"go_version"`
	OS         string `json:"os"`
	Arch       string `json:"arch"`
	Kernel     string `json:"kernel,omitempty"`
	CPU        string `json:"cpu,omitempty"`
	Cores      int    `json:"cores"`
	GOMAXPROCS int    `json:"gomaxprocs"`
	// Load is the one-minute load average before the run, where /proc tells it:
	// how many other threads wanted a processor.
	Load *float64 `json:"load_average,omitempty"`
}

// Metadata says where and how a result came about, so that it can be repeated.
type Metadata struct {
	Time time.Time `json:"time"`
	Host
	Commit   string   `json:"commit,omitempty"`
	Command  []string `json:"command"`
	Baseline string   `json:"baseline,omitempty"`
	// Secured says how ringwire's connections are secured; empty: they are plain.
	Secured string `json:"secured,omitempty"`

	Slice  string `json:"slice"`
	Rounds int    `json:"rounds"` // asked for; a partial result has fewer
}

// Describe fills the metadata with what the machine and the build say. It is
// called before the run, whose own load is not to be counted. commit may be
// empty: then the revision stamped into the binary is used, if any.
func Describe(cfg Config, commit string, command []string) Metadata {
	if commit == "" {
		commit = Revision()
	}
	return Metadata{
		Time: time.Now().UTC().Truncate(time.Second),
		Host: Host{
			Go:         runtime.Version(),
			OS:         runtime.GOOS,
			Arch:       runtime.GOARCH,
			Kernel:     firstLine("/proc/sys/kernel/osrelease"),
			CPU:        cpuModel(),
			Cores:      runtime.NumCPU(),
			GOMAXPROCS: runtime.GOMAXPROCS(0),
			Load:       loadAverage(),
		},
		Commit:  commit,
		Command: command,
		Slice:   cfg.Slice.String(),
		Rounds:  cfg.Rounds,
	}
}

// Revision is the commit that the go command stamped into the binary, with
// "-dirty" after it when files had changed; "" when it did not.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var revision, dirty string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	if revision == "" {
		return ""
	}
	return revision[:min(12, len(revision))] + dirty
}

// AnetVersion is that of the baseline's client in this binary.
func AnetVersion() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, dep := range info.Deps {
		if dep.Path == "github.com/andrei-cloud/anet" {
			return dep.Version
		}
	}
	return ""
}

// busyPart of the processors in use by others is where results begin to suffer.
const busyPart = 0.25

// BusyNote warns of a machine that had other things to do; "" when it had not.
func (m *Metadata) BusyNote() string {
	if m.Load == nil || *m.Load < busyPart*float64(m.Cores) {
		return ""
	}
	return fmt.Sprintf("The machine was busy before the run: load average %.1f.", *m.Load)
}

// loadAverage over the last minute; nil when it cannot be read.
func loadAverage() *float64 {
	first, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return nil
	}
	return &load
}

// firstLine of a file; "" when it cannot be read.
func firstLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// cpuModel is the processor's name, where /proc tells it.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
