package conf

import "strings"

// SplitList splits text at commas and blanks; text in braces stays together,
// with its braces.
func SplitList(text string) []string { return splitQuoted(text, ","+blanks) }

// splitQuoted splits text at the bytes in separators that stand outside braces.
func splitQuoted(text, separators string) []string {
	var words []string
	start, level := -1, 0
	for i := range len(text) {
		c := text[i]
		separates := level == 0 && strings.IndexByte(separators, c) >= 0
		switch {
		case separates && start >= 0:
			words, start = append(words, text[start:i]), -1
		case !separates && start < 0:
			start = i
		}
		if c == '{' {
			level++
		} else if c == '}' && level > 0 {
			level--
		}
	}
	if start >= 0 {
		words = append(words, text[start:])
	}
	return words
}

// SplitWords splits text at commas and blanks; braces mean nothing.
func SplitWords(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(","+blanks, r) })
}
