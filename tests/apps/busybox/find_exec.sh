mkdir -p a/b/c d
for f in a/1 a/b/2 a/b/c/3 d/4; do echo "content of $f" > $f; done
find . -type f | sort
find . -type f -exec cat {} \; | sort
find a -name '[12]' -exec echo found {} + | tr ' ' '\n' | sort
find . -type d -empty; find . -maxdepth 1 -type d | sort
find . -name 3 -exec rm {} +; find a | sort
