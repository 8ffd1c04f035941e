cat > s.sh <<'END'
#!/bin/busybox-none sh
echo never
END
chmod +x s.sh; ./s.sh; echo $?
cat > t.sh <<'END'
echo "no interpreter line, $1"
exit 12
END
chmod +x t.sh; ./t.sh arg; echo $?
. ./t.sh sourced
