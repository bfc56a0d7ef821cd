# Written by scripts/repo/write_command_docs.py
_face_unlock() {
    local words word=${COMP_WORDS[COMP_CWORD]}
    if [ "$COMP_CWORD" -eq 1 ]; then
        mapfile -t COMPREPLY < <(compgen -W "enroll unlock list show change remove check doctor selftest audit backup keys aim fleet --help" -- "$word")
        return
    fi
    case ${COMP_WORDS[1]} in
        enroll) words="--page --page-at --samples --replace --allow-lookalike --json --camera --images --sheet --no-sheet --hours --time-zone --from --until --entries --pin-hours --pin-every-h --pin-after-failures --access --pin --duress-pin --retain-days --yes --gallery --model --config" ;;
        unlock) words="--config --camera --gallery --model --lock-socket --demo --no-liveness --once --max-seconds --json --status-file" ;;
        list) words="--json --gallery --config" ;;
        show) words="--json --gallery --config" ;;
        change) words="--json --hours --time-zone --from --until --entries --pin-hours --pin-every-h --pin-after-failures --access --pin --duress-pin --retain-days --gallery --config" ;;
        remove) words="--json --sheet --no-sheet --yes --gallery --config" ;;
        check) words="--samples --json --camera --images --gallery --model --config" ;;
        doctor) words="--watch --only --json --camera --gallery --config" ;;
        selftest) words="--images --looks --camera --gallery --config" ;;
        audit) words="--event --subject --since --until --json --gallery --config verify show" ;;
        backup) words="--passphrase-file --no-passphrase --yes --gallery --config create restore purge" ;;
        keys) words="--output --gallery --config show seal rotate bind unbind accept extend retire" ;;
        aim) words="--page-at --camera --config" ;;
        fleet) words="--host --port --wait --overtake --at --page-folder --link-folder --gallery --model --config init renew add-door revoke-door viewer revoke-viewer give take push status rotate take-in join submit code switch-off switch-on" ;;
        *) words="" ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$words --help" -- "$word"; compgen -f -- "$word")
}
complete -o filenames -F _face_unlock face-unlock
