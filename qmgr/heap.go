package main

// A ranked thing has an order and remembers its place in the one heap that
// may hold it: 0 when none does.
type ranked[T any] interface {
	before(other T) bool
	place() *int
}

// A heap keeps its first element at the top. Every operation takes time
// logarithmic in the number of elements.
type heap[T ranked[T]] struct{ list []T }

func (h *heap[T]) len() int { return len(h.list) }

// top returns the first element; the heap must not be empty.
func (h *heap[T]) top() T { return h.list[0] }

// set puts x in or takes it out, and moves it to where it belongs when its
// rank has changed.
func (h *heap[T]) set(x T, in bool) {
	i := *x.place() - 1
	switch {
	case in && i < 0:
		h.list = append(h.list, x)
		h.move(len(h.list)-1, x)
		h.up(len(h.list) - 1)
	case in:
		h.fix(i)
	case i >= 0:
		h.remove(i)
	}
}

func (h *heap[T]) remove(i int) {
	last := len(h.list) - 1
	x := h.list[i]
	if i != last {
		h.move(i, h.list[last])
	}
	var none T
	h.list[last] = none
	h.list = h.list[:last]
	*x.place() = 0
	if i != last {
		h.fix(i)
	}
}

// move writes x at i.
func (h *heap[T]) move(i int, x T) {
	h.list[i] = x
	*x.place() = i + 1
}

func (h *heap[T]) fix(i int) {
	if !h.down(i) {
		h.up(i)
	}
}

func (h *heap[T]) up(i int) {
	x := h.list[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !x.before(h.list[parent]) {
			break
		}
		h.move(i, h.list[parent])
		i = parent
	}
	h.move(i, x)
}

func (h *heap[T]) down(i int) (moved bool) {
	x := h.list[i]
	for {
		child := 2*i + 1
		if child >= len(h.list) {
			break
		}
		if child+1 < len(h.list) && h.list[child+1].before(h.list[child]) {
			child++
		}
		if !h.list[child].before(x) {
			break
		}
		h.move(i, h.list[child])
		i, moved = child, true
	}
	h.move(i, x)
	return moved
}
