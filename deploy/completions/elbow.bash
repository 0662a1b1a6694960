# Completions of elbow for bash, made from its table of options.

_elbow() {
  local current=${COMP_WORDS[COMP_CWORD]} flag=${COMP_WORDS[COMP_CWORD - 1]} words
  # A word ends at an equals sign.
  if [[ $current == = ]]; then
    current=
  elif [[ $flag == = ]]; then
    flag=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  COMPREPLY=()
  case $flag in
    --admin-listen|--health-listen|--listen|--token-key|--proxy-trust|--drain|--expires|--history-age|--max-lifetime|--ping-interval|--ping-timeout|--log-level|--unix-mode|--accept-rate|--history|--max-channels|--max-connections|--max-connections-per-ip|--greeting|--redis-prefix|--events|--host|--join|--say|--message-rate|--allow-origin|--base-path|--feed|--max-message|--memory|--receive-buffer|--send-buffer|--audience|--issuer|--subject|--token-audience|--token-issuer|--redis|--url|--key) return ;;
    --www) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --redis-ca) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --admin-token-file) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --redis-password-file) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --anonymous) COMPREPLY=($(compgen -W 'all join none' -- "$current")); return ;;
    --io-uring) COMPREPLY=($(compgen -W 'auto off require' -- "$current")); return ;;
    --lb) COMPREPLY=($(compgen -W 'none clb nlb alb' -- "$current")); return ;;
    --proxy-protocol) COMPREPLY=($(compgen -W 'off optional required' -- "$current")); return ;;
    --recovery) COMPREPLY=($(compgen -W 'on off' -- "$current")); return ;;
  esac
  case ${COMP_WORDS[1]} in
    check) words='--listen --unix-mode --health-listen --admin-listen --admin-token-file --lb --proxy-protocol --proxy-trust --www --base-path --host --allow-origin --events --greeting --token-key --token-audience --token-issuer --anonymous --history --history-age --recovery --message-rate --max-lifetime --accept-rate --redis --redis-password-file --redis-prefix --redis-ca --ping-interval --ping-timeout --drain --fit --max-connections --max-connections-per-ip --max-channels --max-message --feed --memory --send-buffer --receive-buffer --io-uring --log-level --help' ;;
    health) words='--url --help' ;;
    doctor) words='--url --json --aws --listen --unix-mode --health-listen --admin-listen --admin-token-file --lb --proxy-protocol --proxy-trust --www --base-path --host --allow-origin --events --greeting --token-key --token-audience --token-issuer --anonymous --history --history-age --recovery --message-rate --max-lifetime --accept-rate --redis --redis-password-file --redis-prefix --redis-ca --ping-interval --ping-timeout --drain --fit --max-connections --max-connections-per-ip --max-channels --max-message --feed --memory --send-buffer --receive-buffer --io-uring --log-level --help' ;;
    top) words='--url --admin-token-file --help' ;;
    token) words='--key --subject --audience --issuer --join --say --expires --help' ;;
    *) words='--listen --unix-mode --health-listen --admin-listen --admin-token-file --lb --proxy-protocol --proxy-trust --www --base-path --host --allow-origin --events --greeting --token-key --token-audience --token-issuer --anonymous --history --history-age --recovery --message-rate --max-lifetime --accept-rate --redis --redis-password-file --redis-prefix --redis-ca --ping-interval --ping-timeout --drain --fit --max-connections --max-connections-per-ip --max-channels --max-message --feed --memory --send-buffer --receive-buffer --io-uring --log-level --help --version' ;;
  esac
  [[ $COMP_CWORD -gt 1 ]] || words+=' check health doctor top token'
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}

complete -F _elbow elbow
