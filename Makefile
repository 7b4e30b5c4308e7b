# postroad: make help says what there is to do.

BUILD   = build
PREFIX  = /usr/local
DESTDIR =
GO      = go
# Time a fuzz target gets in `make fuzz`.
FUZZTIME = 1m
# How many times as long as in the tests `make crash` takes.
CRASHTIMES = 20

.PHONY: help build run test crash peers fuzz lint man rfc install uninstall clean

help:       ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST)

build:      ## all programs, in build/
	@mkdir -p $(BUILD)
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(BUILD)/ ./...
	@for pair in mailq:sendmail newaliases:sendmail postfix:postroad lmtp:smtp; do \
		ln -sf $${pair#*:} $(BUILD)/$${pair%%:*}; done

run: build  ## try it: a private mail system in a directory of its own, until interrupted
	@$(BUILD)/postroad demo

test:       ## everything that needs nothing but Go
	$(GO) vet ./...
	$(GO) test ./...

crash:      ## kill, fill up and damage for longer than the tests do
	POSTROAD_CRASH=$(CRASHTIMES) $(GO) test -v -count=1 -timeout 2h ./test/crash

peers:      ## compare with Debian's Postfix and others, as root
	test/peers/run

fuzz:       ## every fuzz target for FUZZTIME
	@test/fuzz $(FUZZTIME)

lint:       ## gofmt and go vet
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...

man:        ## the manual pages, in build/man
	@$(GO) run docs/gen/main.go man $(BUILD)/man

rfc:        ## docs/rfc.md: which RFC is cited where
	@$(GO) run docs/gen/main.go rfc > $(BUILD)/rfc.md && mv $(BUILD)/rfc.md docs/rfc.md

SBIN    = $(DESTDIR)$(PREFIX)/sbin
LIBEXEC = $(DESTDIR)$(PREFIX)/libexec/postroad
SHIPPED = $(DESTDIR)$(PREFIX)/share/postroad/etc
MAN     = $(DESTDIR)$(PREFIX)/share/man
COMMANDS = $(notdir $(wildcard cmd/*)) mailq newaliases postfix
DAEMONS = $(patsubst %/main.go,%,$(wildcard */main.go)) lmtp

install: build man  ## into DESTDIR and PREFIX; an existing configuration stays as it is
	install -d $(SBIN) $(LIBEXEC) $(SHIPPED) $(MAN) $(DESTDIR)/etc/postfix
	cd $(BUILD) && cp -Pf $(COMMANDS) $(SBIN)/ && cp -Pf $(DAEMONS) $(LIBEXEC)/
	cp -R $(BUILD)/man/* $(MAN)/
	install -m 644 etc/* $(SHIPPED)/
	for f in etc/*; do \
		test -e $(DESTDIR)/etc/postfix/$${f##*/} || install -m 644 $$f $(DESTDIR)/etc/postfix/; done
	@echo 'Then, as root: postroad set-permissions, newaliases, postroad start'

uninstall:  ## what install put there, but for the configuration
	rm -rf $(LIBEXEC) $(DESTDIR)$(PREFIX)/share/postroad
	cd $(SBIN) && rm -f $(COMMANDS)
	cd $(MAN) && rm -f $(COMMANDS:%=man1/%.1) $(DAEMONS:%=man8/%.8) man5/postconf.5

clean:      ## remove build/
	rm -rf $(BUILD)
