#!/bin/sh
# Copies the files of others that pages load from their npm packages to static/vendor/<name>@<version>/, with their licences.
# Run after a change of package.json or package-lock.json and commit the result: building and serving never needs node.
# With --check it only says whether the committed copies are what the packages contain.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/package.json" "$here/package-lock.json" "$here/.npmrc" "$work/"
(cd "$work" && npm ci --ignore-scripts --silent)

# copy <package> <file>... : files are relative to the package; they land side by side.
copy() {
  from="$work/node_modules/$1"
  version=$(sed -n 's/^  "version": "\(.*\)",*$/\1/p' "$from/package.json" | head -n 1)
  to="$work/vendor/$(printf %s "$1" | sed 's/^@//; s,/,-,')@$version"
  shift
  mkdir -p "$to"
  for file in "$@" LICENSE; do
    # A source map named at the end would only be asked for in vain.
    sed '/^\/\/# sourceMappingURL=/d' "$from/$file" >"$to/$(basename "$file")"
  done
}
copy tus-js-client dist/tus.min.js
# tus.min.js has these packages inside it; their notices belong to it.
for inner in js-base64 url-parse querystringify requires-port; do
  { printf '\n--- %s, inside tus.min.js ---\n\n' "$inner"; cat "$work/node_modules/$inner/LICENSE"*; } >>"$to/LICENSE"
done
copy @noble/hashes sha2.js _md.js _u64.js utils.js

if [ "${1:-}" = --check ]; then
  diff -r "$work/vendor" "$here/vendor" && echo "vendored files are as published"
else
  rm -rf "$here/vendor"
  mv "$work/vendor" "$here/vendor"
fi
