// Package ext4 is what the image builder, which makes the data partition's file system,
// and stage 1, which lengthens, checks and at worst makes it again, have to agree on.
// Options and octets only; it starts no program and knows nobody.
package ext4
