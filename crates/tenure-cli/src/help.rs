//! The long texts of `--help` and of the manual page.
//!
//! Owns prose only. Options describe themselves in `cli.rs`.

pub(crate) const ABOUT: &str = "Run commands under a lock, and see who holds what";

pub(crate) const AFTER: &str = "\
Examples:
  tenure run nightly-backup -- ./backup.sh     wait for the lock, then run
  tenure run -n deploy -- ./deploy.sh          do not wait: exit 124 when busy
  tenure ls                                    every lock, its holder and its queue
  tenure show deploy --output json             one lock, for a script
  tenure acquire deploy --ttl 30m --hold F     for several steps of a script;
  tenure release --hold F                      then give it back
  tenure wait deploy                           until it is free

`tenure run --help` is the manual of the main job, with all exit codes.";

pub(crate) const RUN_ABOUT: &str = "Run a command while holding a lock";

pub(crate) const RUN_LONG: &str = "\
Run a command while holding a lock.

Waits until NAME is free, holds it, runs CMD, and releases it when CMD has
ended. Those who wait are served in the order they came. stdin, stdout and
stderr belong to the command; tenure's own lines go to stderr and begin
with `tenure: `.

NAME is any text of 1 to 1,024 bytes without control characters; `/` and
`..` are plain text. A duration is a number with ms, s, m, h or d; a bare
number is seconds; fractions are allowed.";

pub(crate) const RUN_AFTER: &str = "\
The command:
  It runs in a process group of its own and sees TENURE_LOCK, TENURE_STORE,
  TENURE_TOKEN (a number that grows with every hold: let the guarded
  resource refuse smaller ones) and TENURE_HOLDER. TERM, INT, HUP, QUIT,
  USR1, USR2 and WINCH are passed on to its group; what tenure was started
  with ignored, as by nohup, stays ignored. At a terminal it gets the
  foreground; Ctrl-Z stops both, as TSTP sent to tenure does with all of
  tenure's process group, and a Ctrl-C that ends it ends the script around
  it as well. The lock is released when the command itself has ended: what
  it left running in the background is neither waited for nor ended.

If the lock is lost:
  The group gets TERM at once and KILL after the grace, at most 2 s later;
  the exit code is 123. A lock of local: has no expiry: it is lost only
  when an operator repairs it or somebody deletes its record; `tenure
  steal --now` kills tenure and the group. If tenure is killed, the kernel
  kills the command, and the next in line ends what is left of its group
  before it takes the lock.

  On kube: a second process of tenure renews the lock, also while Ctrl-Z
  stops the job. When the store does not answer, the group gets TERM the
  grace before the lock could expire, and KILL before it can. Whichever of
  the two processes is killed, the other ends the group; only if both are
  killed at once, as by `killall -9 tenure`, what the command had started
  in the background goes on. What leaves the group is not ended.

Exit codes:
  CODE   the command's own exit code
  123    the lock was lost before the command ended, or the command was told
         to end because it could not be renewed, whatever it returned
  124    the lock is busy (-n), or still was when --wait ended; -E replaces
         this code, and -E 0 says nothing of it on stderr
  125    tenure failed: bad usage, bad name, store not usable, held by a
         parent
  126    the command was found and cannot be run
  127    the command was not found
  128+n  the command was killed by signal n, or tenure was while waiting
         (130 INT, 143 TERM)

Events:
  With --status-fd N, each line is an object with \"event\", \"at\" and
  \"lock\":
  waiting   place (how many are ahead in line), ticket, held_by
  acquired  store, id, token: the command is about to start
  renewed   remaining_ms until the lock expires without another renewal
  stopping  remaining_ms until KILL, because renewals fail
  exited    code or signal of the command
  released  remaining_ms where --at-least keeps the lock
  lost      reason; then stopping with remaining_ms until KILL
  ended     always the last line: code, which tenure exits with, and
            outcome: command (the code is the command's), lost, busy or
            timed_out (with held_by), interrupted (while waiting) or failed
            (with reason)
  Without `ended`, tenure was killed or could not read its command line.
  Fields and events are only ever added.

Environment:
  TENURE_STORE    the store when --store is not given
  Without both, this user's locks on this machine, in the folder
  $XDG_STATE_HOME/tenure or ~/.local/state/tenure; root's in
  /var/lib/tenure.

Examples:
  tenure run nightly-backup -- ./backup.sh
      Wait for ever, then run. Ctrl-C leaves the queue.
  tenure run -n -E 0 nightly -- /usr/local/bin/nightly
      For crontab: when the last run is still going, do nothing, say
      nothing and call it success.
  tenure run -w 30s db-migrate -c 'psql -f up.sql && touch done'
      Wait at most 30 s; a shell line instead of a command.
  tenure run --at-least 50s -n report -- ./report.sh
      Not twice within 50 s, however short the report is.
  tenure run --status-fd 3 build -- make 3>events.json
      What happened, as one JSON object per line.
  tenure run --store kube:jobs nightly -- ./backup.sh
      Under a Lease in the namespace jobs, beside client-go's programs.";

pub(crate) const SHOW_LONG: &str = "\
Show one lock: its holder, its queue, its tags, and its last holds, newest
first, with how each ended. Exits 0 whether it is held or free, and 125 if its
record cannot be read. `expired` is a hold that has ended without a release:
its ttl ran out or its processes are gone, and the next to come takes the lock.";

pub(crate) const SHOW_AFTER: &str = "\
Examples:
  tenure show nightly-backup
  tenure show nightly-backup --output json | jq -r '.holders[0].pid'

JSON: {\"lock\",\"store\",\"state\":\"free|held|expired\",\"mode\",\"ttl_ms\",
\"holders\":[{\"id\",\"host\",\"pid\",\"token\",\"since\",\"remaining_ms\",\"orphan\"}],
\"queue\":[{\"id\",\"pid\",\"since\"}],\"tags\":[],\"history\":[{\"id\",\"token\",\"since\",
\"until\",\"end\":\"released|died|expired|stolen\",\"reason\"}]}. Times are RFC 3339 in
UTC, _ms are whole milliseconds, unknown is null, as the queue is on kube:;
orphan is the process that keeps the lock after its holder was killed; history
holds the last 8 holds, newest first, and the reason given to `tenure steal`.
Fields are only ever added.";

pub(crate) const LS_LONG: &str = "\
List every lock of the store, also those that are free since they were last
used: state, holder, since when, and how many wait: on kube: nobody knows. A
record that cannot be read is told on stderr, the others are listed, and the
exit code is 125.";

pub(crate) const LS_AFTER: &str = "\
Examples:
  tenure ls
  tenure ls --where 'acquired = true and age > 1h'
  tenure ls --where 'tags contains \"team a\" and not holder contains ci-'
  tenure ls --output json | jq -r '.[] | select(.state == \"held\") | .lock'

Conditions of --where: FIELD OPERATION VALUE, joined by and, or, not and
parentheses; not binds closest, then and.
  tags contains TAG         the lock has this tag
  holder = ID               its holder's identity is ID
  holder contains TEXT      its holder's identity has TEXT in it
  acquired = true|false     somebody has a hold that has not ended
  mode = exclusive          it is held so
  age > DUR, age < DUR      how long ago its hold began, by wall clocks
A value with a blank or a sign in it stands in double quotes. Of what is not
there each question is answered with no.

JSON: an array of the objects that `tenure show --output json` prints.";

pub(crate) const COMPLETIONS_AFTER: &str = "\
Examples:
  tenure completions bash > ~/.local/share/bash-completion/completions/tenure
  tenure completions fish > ~/.config/fish/completions/tenure.fish";

pub(crate) const MAN_AFTER: &str = "\
Examples:
  tenure man > ~/.local/share/man/man1/tenure.1
  tenure man run > ~/.local/share/man/man1/tenure-run.1";
