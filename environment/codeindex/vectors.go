package codeindex

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// vector is one of length 1, with a byte for each dimension: that is as good
// for ranking, and a fourth in size.
type vector struct {
	scale float32
	parts []int8
}

func newVector(unit []float32) vector {
	most := float32(0)
	for _, x := range unit {
		most = max(most, x, -x)
	}
	v := vector{scale: most / 127, parts: make([]int8, len(unit))}
	for i, x := range unit {
		v.parts[i] = int8(math.Round(float64(x / v.scale)))
	}
	return v
}

// cosine is that of the angle between v and a vector of length 1 with as many
// dimensions.
func (v vector) cosine(unit []float32) float32 {
	parts := v.parts
	var a, b, c, d float32 // sums that do not wait for each other: four times as fast as one
	for len(parts) >= 8 && len(unit) >= 8 {
		a += float32(parts[0])*unit[0] + float32(parts[4])*unit[4]
		b += float32(parts[1])*unit[1] + float32(parts[5])*unit[5]
		c += float32(parts[2])*unit[2] + float32(parts[6])*unit[6]
		d += float32(parts[3])*unit[3] + float32(parts[7])*unit[7]
		parts, unit = parts[8:], unit[8:]
	}
	for i, x := range parts {
		a += float32(x) * unit[i]
	}
	return (a + b + c + d) * v.scale
}

// vectors are those of pieces, all of one model.
type vectors struct {
	dimensions int
	of         map[pieceID]vector
}

// vectorMagic begins a file of vectors; the last character is the version.
const vectorMagic = "oz-code-vectors-1\n"

// maxVectorFile bounds such a file.
const maxVectorFile = len(vectorMagic) + sha256.Size + 64 + MaxPieces*(16+4+MaxDimensions)

// encode writes vectors: magic, a checksum of the rest, the dimensions, the
// count, and the name, scale and parts of each.
func (v *vectors) encode() []byte {
	body := binary.AppendUvarint(nil, uint64(v.dimensions))
	body = binary.AppendUvarint(body, uint64(len(v.of)))
	for id, one := range v.of {
		body = append(body, id[:]...)
		body = binary.LittleEndian.AppendUint32(body, math.Float32bits(one.scale))
		for _, x := range one.parts {
			body = append(body, byte(x))
		}
	}
	sum := sha256.Sum256(body)
	return append(append([]byte(vectorMagic), sum[:]...), body...)
}

// decodeVectors reads such a file; nil is none.
func decodeVectors(data []byte) *vectors {
	const start = len(vectorMagic) + sha256.Size
	if len(data) < start || string(data[:len(vectorMagic)]) != vectorMagic {
		return nil
	}
	if sum := sha256.Sum256(data[start:]); !bytes.Equal(sum[:], data[len(vectorMagic):start]) {
		return nil
	}
	return parseStored(data[start:])
}

// parseStored reads what the checksum covers.
func parseStored(data []byte) *vectors {
	dimensions, n := binary.Uvarint(data)
	if n <= 0 || dimensions == 0 || dimensions > MaxDimensions {
		return nil
	}
	data = data[n:]
	count, n := binary.Uvarint(data)
	if n <= 0 || count > MaxPieces {
		return nil
	}
	data = data[n:]
	size := 16 + 4 + int(dimensions)
	if len(data) != int(count)*size {
		return nil
	}
	v := &vectors{dimensions: int(dimensions), of: make(map[pieceID]vector, count)}
	for ; len(data) > 0; data = data[size:] {
		one := vector{scale: math.Float32frombits(binary.LittleEndian.Uint32(data[16:])), parts: make([]int8, dimensions)}
		if !(one.scale > 0 && one.scale <= 1) { // NaN neither
			return nil
		}
		for i, b := range data[20:size] {
			one.parts[i] = int8(b)
		}
		v.of[pieceID(data[:16])] = one
	}
	return v
}

// vectorFile is where the vectors of the repository by a model are kept; "" is
// nowhere. Its name does not begin like those of indexes.
func (r *Repository) vectorFile() string {
	if r.opts.Dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(r.opts.Key + "\x00" + r.opts.Embeddings.Model))
	return filepath.Join(r.opts.Dir, "vectors-"+hex.EncodeToString(sum[:16]))
}

// loadVectors gives nil where there are none, or none that are whole: they are
// asked for again.
func loadVectors(file string) *vectors {
	info, err := os.Lstat(file)
	if err != nil || !info.Mode().IsRegular() || info.Size() > int64(maxVectorFile) {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }() // only read
	data, err := io.ReadAll(io.LimitReader(f, int64(maxVectorFile)))
	if err != nil {
		return nil
	}
	return decodeVectors(data)
}

// keepVectors stores them whole or not at all, with those that other runs have
// stored meanwhile as far as there is room. What fails costs the next run the
// requests.
func keepVectors(file string, v *vectors) {
	if file == "" || len(v.of) == 0 || os.MkdirAll(filepath.Dir(file), 0o700) != nil {
		return
	}
	if old := loadVectors(file); old != nil && old.dimensions == v.dimensions {
		for id, one := range old.of {
			if _, known := v.of[id]; !known && len(v.of) < MaxPieces {
				v.of[id] = one
			}
		}
	}
	temp := file + "-" + uuid.NewString() + ".tmp"
	if os.WriteFile(temp, v.encode(), 0o600) != nil || os.Rename(temp, file) != nil {
		_ = os.Remove(temp)
	}
}
