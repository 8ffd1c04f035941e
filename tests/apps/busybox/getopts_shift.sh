parse() { OPTIND=1; while getopts ab:c o; do case $o in a) echo A;; b) echo "B=$OPTARG";; c) echo C;; ?) echo bad;; esac; done; shift $((OPTIND - 1)); echo "rest $*"; }
parse -a -b val x y; parse -acbv z; parse -q; parse -b; parse -- -a
