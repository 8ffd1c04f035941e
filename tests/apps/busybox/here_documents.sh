name=world
cat <<END
hello $name $(echo sub) \$name
END
cat <<'END'
raw $name $(echo sub) \n
END
cat <<-END
	tabs stripped
		all of them
	END
tr a-z A-Z <<A; cat <<B
first
A
second
B
while read line; do echo "[$line]"; done <<END
one
  two  words
END
