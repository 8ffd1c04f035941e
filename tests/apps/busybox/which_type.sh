type cd echo for nothing 2>&1 | sed 's/ (.*//'; command -v cd; command -v nothing; echo $?
alias ll='echo aliased'; alias ll; unalias ll; hash; ulimit -n > /dev/null && echo ulimit; times > /dev/null && echo times
