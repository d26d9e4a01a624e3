// Lays history down as blocks of a Prometheus store, with the library that Prometheus writes its own with.
//
// blockwriter PLAN FOLDER reads a plan (see testbed/blocks.py, which writes it) and puts one block per time range into
// FOLDER. The plan has a few series in full; every copy of them gets an index entry and chunks of its own under its own
// labels, encoded once and written as often as there are copies.
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sort"
	"sync"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// What Prometheus cuts its chunks at (tsdb/head_append.go).
const samplesPerChunk = 120

type series struct {
	Labels map[string]string `json:"labels"`
	First  int               `json:"first"` // index of its first sample in the file of samples
	Count  int               `json:"count"`
}

// Whoever is called like one of the template's names is called otherwise in the copy.
type fleetCopy struct {
	Template int               `json:"template"`
	Names    map[string]string `json:"names"`
}

type plan struct {
	Samples   string      `json:"samples"` // file: for each sample its time in ms (int64) and value (float64), little endian
	BlockMs   int64       `json:"blockMs"`
	Templates [][]series  `json:"templates"`
	Copies    []fleetCopy `json:"copies"`
}

type sample struct {
	time  int64
	value float64
}

// One stored series: whose samples it has, and what it is called.
type stored struct {
	shape  int
	labels labels.Labels
}

type blockMeta struct {
	ULID    ulid.ULID         `json:"ulid"`
	MinTime int64             `json:"minTime"`
	MaxTime int64             `json:"maxTime"`
	Stats   map[string]uint64 `json:"stats"`
	Origin  compaction        `json:"compaction"`
	Version int               `json:"version"`
}

type compaction struct {
	Level   int         `json:"level"`
	Sources []ulid.ULID `json:"sources"`
}

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: blockwriter PLAN FOLDER")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(planFile, folder string) error {
	raw, err := os.ReadFile(planFile)
	if err != nil {
		return err
	}
	var wanted plan
	if err := json.Unmarshal(raw, &wanted); err != nil {
		return err
	}
	shapes, err := readShapes(wanted)
	if err != nil {
		return err
	}
	fleet, symbols := named(wanted)
	first, last := span(shapes)
	starts := make(chan int64)
	failures := make(chan error, runtime.GOMAXPROCS(0))
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for start := range starts {
				if err := writeBlock(folder, start, start+wanted.BlockMs, shapes, fleet, symbols); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	go func() {
		defer close(starts)
		for start := first - first%wanted.BlockMs; start <= last; start += wanted.BlockMs {
			select {
			case starts <- start:
			case err := <-failures:
				failures <- err
				return
			}
		}
	}()
	workers.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func readShapes(wanted plan) ([][]sample, error) {
	raw, err := os.ReadFile(wanted.Samples)
	if err != nil {
		return nil, err
	}
	var shapes [][]sample
	for _, template := range wanted.Templates {
		for _, each := range template {
			shape := make([]sample, each.Count)
			for i := range shape {
				at := raw[16*(each.First+i):]
				shape[i].time = int64(binary.LittleEndian.Uint64(at))
				shape[i].value = math.Float64frombits(binary.LittleEndian.Uint64(at[8:]))
			}
			shapes = append(shapes, shape)
		}
	}
	return shapes, nil
}

// Every copy's series in the order in which an index wants them, and every word that stands in a label. Of series of
// the same name, such as the exporter's of a node that several copies share, one is kept.
func named(wanted plan) ([]stored, []string) {
	var begins []int // of each template's shapes
	count := 0
	for _, template := range wanted.Templates {
		begins = append(begins, count)
		count += len(template)
	}
	var fleet []stored
	words := map[string]struct{}{"": {}}
	builder := labels.NewScratchBuilder(32)
	for _, one := range wanted.Copies {
		for i, each := range wanted.Templates[one.Template] {
			builder.Reset()
			for name, value := range each.Labels {
				if other, ok := one.Names[value]; ok {
					value = other
				}
				builder.Add(name, value)
				words[name], words[value] = struct{}{}, struct{}{}
			}
			builder.Sort()
			fleet = append(fleet, stored{begins[one.Template] + i, builder.Labels()})
		}
	}
	slices.SortStableFunc(fleet, func(a, b stored) int { return labels.Compare(a.labels, b.labels) })
	fleet = slices.CompactFunc(fleet, func(a, b stored) bool { return labels.Equal(a.labels, b.labels) })
	symbols := make([]string, 0, len(words))
	for word := range words {
		symbols = append(symbols, word)
	}
	sort.Strings(symbols)
	return fleet, symbols
}

func span(shapes [][]sample) (first, last int64) {
	first, last = math.MaxInt64, math.MinInt64
	for _, shape := range shapes {
		if len(shape) > 0 {
			first, last = min(first, shape[0].time), max(last, shape[len(shape)-1].time)
		}
	}
	return first, last
}

func writeBlock(folder string, start, end int64, shapes [][]sample, fleet []stored, symbols []string) error {
	id := ulid.MustNew(uint64(end), ulid.Monotonic(zeros{}, 0))
	unfinished := filepath.Join(folder, id.String()+".tmp-for-creation") // Prometheus removes such as it starts
	if err := os.MkdirAll(unfinished, 0o755); err != nil {
		return err
	}
	stats := map[string]uint64{}
	if err := writeContent(unfinished, start, end, shapes, fleet, symbols, stats); err != nil {
		return err
	}
	meta, err := json.Marshal(blockMeta{id, start, end, stats, compaction{1, []ulid.ULID{id}}, 1})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(unfinished, "meta.json"), meta, 0o644); err != nil {
		return err
	}
	fmt.Println(id, stats["numSeries"], "series", stats["numSamples"], "samples")
	return os.Rename(unfinished, filepath.Join(folder, id.String()))
}

func writeContent(
	folder string, start, end int64, shapes [][]sample, fleet []stored, symbols []string, stats map[string]uint64,
) error {
	encoded, err := encode(shapes, start, end)
	if err != nil {
		return err
	}
	chunkWriter, err := chunks.NewWriter(filepath.Join(folder, "chunks"))
	if err != nil {
		return err
	}
	indexWriter, err := index.NewWriter(context.Background(), filepath.Join(folder, "index"))
	if err != nil {
		return err
	}
	for _, symbol := range symbols {
		if err := indexWriter.AddSymbol(symbol); err != nil {
			return err
		}
	}
	reference := storage.SeriesRef(0)
	for _, each := range fleet {
		if len(encoded[each.shape]) == 0 {
			continue
		}
		own := slices.Clone(encoded[each.shape])
		if err := chunkWriter.WriteChunks(own...); err != nil {
			return err
		}
		if err := indexWriter.AddSeries(reference, each.labels, own...); err != nil {
			return err
		}
		reference++
		stats["numChunks"] += uint64(len(own))
		for _, chunk := range own {
			stats["numSamples"] += uint64(chunk.Chunk.NumSamples())
		}
	}
	stats["numSeries"] = uint64(reference)
	if err := indexWriter.Close(); err != nil {
		return err
	}
	return chunkWriter.Close()
}

// The chunks of each shape between two times.
func encode(shapes [][]sample, start, end int64) ([][]chunks.Meta, error) {
	encoded := make([][]chunks.Meta, len(shapes))
	for i, shape := range shapes {
		from := sort.Search(len(shape), func(k int) bool { return shape[k].time >= start })
		to := sort.Search(len(shape), func(k int) bool { return shape[k].time >= end })
		for part := range slices.Chunk(shape[from:to], samplesPerChunk) {
			chunk := chunkenc.NewXORChunk()
			appender, err := chunk.Appender()
			if err != nil {
				return nil, err
			}
			for _, each := range part {
				appender.Append(0, each.time, each.value)
			}
			meta := chunks.Meta{Chunk: chunk, MinTime: part[0].time, MaxTime: part[len(part)-1].time}
			encoded[i] = append(encoded[i], meta)
		}
	}
	return encoded, nil
}

// Blocks are told apart by their end: the same plan gives the same names.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}
