#!/bin/sh
# Unpacks a Debian package of any architecture into a folder, with an apt state
# of its own: the machine's packages and architectures are left alone.
#
#   containers/fetch-deb.sh amd64|arm64 PACKAGE
#
# Prints the folder, which is in the cache; what is there already is not fetched.
set -eu
arch=$1 package=$2
cache=${XDG_CACHE_HOME:-$HOME/.cache}/netd/debs/$arch
root=$cache/$package
if ! [ -e "$root.done" ]; then
	state=$cache/apt
	mkdir -p "$state/lists/partial" "$state/archives/partial"
	rm -rf "$root" "$root.deb"
	mkdir -p "$root.deb"
	{
		# The state is shared by all packages of one architecture.
		exec 9>"$state/lock" && flock 9
		set -- -qq -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o APT::Sandbox::User=root \
			-o Dir::State::status=/dev/null -o Dir::State::lists="$state/lists" \
			-o Dir::Cache="$state" -o Dir::Cache::archives="$state/archives"
		[ -e "$state/updated" ] || apt-get "$@" update && touch "$state/updated"
		echo "fetch $package for $arch"
		(cd "$root.deb" && apt-get "$@" download "$package:$arch")
		dpkg-deb -x "$root.deb/$package"_*.deb "$root"
		rm -rf "$root.deb"
		touch "$root.done"
	} >&2
fi
echo "$root"
