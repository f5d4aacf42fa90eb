// Command judge reads what clients saw and says whether it can be true of one store: porcupine with
// etcd's own model and watch checks decide, not we. It exits 0 when there is a verdict, good or bad.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
	"go.uber.org/zap"
)

func main() {
	file := flag.String("history", "", "file with the history")
	verdictFile := flag.String("verdict", "", "file for the verdict")
	picture := flag.String("picture", "", "file for a picture of a history that is not linearizable")
	limit := flag.Duration("limit", 2*time.Minute, "how long the search may take")
	flag.Parse()
	if err := run(*file, *verdictFile, *picture, *limit); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, verdictFile, picture string, limit time.Duration) error {
	h, err := readHistory(file)
	if err != nil {
		return err
	}
	settings := zap.NewProductionConfig()
	settings.Level = zap.NewAtomicLevelAt(zap.ErrorLevel)
	settings.DisableStacktrace = true
	logger, err := settings.Build()
	if err != nil {
		return fmt.Errorf("make a logger: %w", err)
	}
	v, result := judge(h, limit, logger)
	if !v.Clean && picture != "" && result.Linearization.Model.Init != nil {
		if err := porcupine.VisualizePath(result.Linearization.Model, result.Linearization.Info, picture); err != nil {
			return fmt.Errorf("draw %s: %w", picture, err)
		}
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write the verdict: %w", err)
	}
	return os.WriteFile(verdictFile, append(text, '\n'), 0o644)
}
