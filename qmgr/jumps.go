package main

import "time"

// jumpLimit is how far the wall clock may go astray before it counts as a jump.
const jumpLimit = 10 * time.Second

// jumps remembers how the wall clock was set while we run. Ages of messages
// are measured with arrival times that may belong to another setting; an age
// must never come out greater than it is, because mail that is too old is
// returned.
type jumps struct {
	wall    time.Time     // a moment by the wall clock
	elapsed time.Duration // and the same moment by clock.Elapsed
	list    []jump
}

type jump struct {
	at time.Time // what the clock said before
	by time.Duration
}

// maxJumps bounds what is remembered; the oldest is forgotten first.
const maxJumps = 100

// observe compares the two times and returns by how much the wall clock was
// set since the last call, or 0.
func (j *jumps) observe(now time.Time, elapsed time.Duration) time.Duration {
	now = now.Round(0) // without its monotonic reading
	if j.wall.IsZero() {
		j.wall, j.elapsed = now, elapsed
		return 0
	}
	expected := j.wall.Add(elapsed - j.elapsed)
	by := now.Sub(expected)
	if by.Abs() < jumpLimit {
		return 0
	}
	j.wall, j.elapsed = now, elapsed
	if last := len(j.list) - 1; last >= 0 && (j.list[last].by > 0) != (by > 0) {
		// Set there and back: what is left is the difference.
		j.list[last].by += by
		if j.list[last].by.Abs() < jumpLimit {
			j.list = j.list[:last]
		}
		return by
	}
	if len(j.list) == maxJumps {
		j.list = j.list[1:]
	}
	j.list = append(j.list, jump{expected, by})
	return by
}

// age is how long ago a message was made, when the wall clock says now. Where
// it can't be known on which side of a jump that was, the age is the smaller.
func (j *jumps) age(created, now time.Time) time.Duration {
	age := now.Sub(created)
	for i := len(j.list) - 1; i >= 0; i-- {
		x := j.list[i]
		if x.by > 0 && created.Before(x.at) || x.by < 0 && age < 0 {
			age -= x.by
		}
	}
	return max(age, 0)
}
