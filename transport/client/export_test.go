package client

import "io"

// MaxFrame is maxFrame.
const MaxFrame = maxFrame

// Frame is one server-sent event, as a test sees it.
type Frame struct{ ID, Event, Data string }

// ReadFrames reads a stream to its end.
func ReadFrames(r io.Reader, each func(Frame)) error {
	frames := newFrameReader(r, nil)
	for {
		f, err := frames.next()
		if err != nil {
			return err
		}
		each(Frame{ID: f.id, Event: f.event, Data: string(f.data)})
	}
}
