------------------------------ MODULE Takeover ------------------------------
(* One subscription, several relays: lease and fence, the cursor and its gap
   rows written by difference, writes that land late, and a server that loses
   the end of its WAL.

   What Pipeline.tla proves is taken as given here: a read returns all visible
   rows above the position and in the gaps, in one snapshot, by seq; a gap is
   dropped when the transaction that drew it is gone without a commit.

   A transaction draws one seq under the lock of its key.  A relay knows nothing
   of the lease but what the database answers: between two answers it may be
   paused for as long as it takes, and then go on publishing.  A cursor write
   is a message: it may land after its connection broke, after its author has
   reloaded, died or lost the lease, and (behind a pooler) in another life of
   the server.

   Consumers may drop what is older than what they have seen of a key, by the
   header outtray-order = <fence, seq>: kept is what such a consumer has.     *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS
  Tx, Key,      \* Key: [Tx -> key]
  Relay,
  FenceRule,    \* a write is accepted: "checked" if owner and fence match
                \*   | "off": always
  Renewal,      \* "live": only an unexpired lease | "revive": an expired one
                \*   comes back as it was, whoever had it since
  WriteRule,    \* the position is written "after" publication | "early"
  Unknown,      \* a write whose answer is lost: "fence": take a new fence and
                \*   reload | "reload": under the same fence
                \*   | "written" | "not": believe so and go on
  Barrier,      \* "on": publish only what is known to be flushed | "off"
  Force,        \* TRUE: a write of the cursor is made for the barrier alone
  Life,         \* "checked": a write names the life of the server it is meant
                \*   for | "any"
  Memory,       \* in a new life of the server: "reload" | "keep"
  MaxFence, MaxCrash, MaxBreak, MaxDie

VARIABLES
  seq, owner, st, corder,           \* the log: seqs drawn, by whom; commits
  cpos, cgaps, lo, lf,              \* cursor and gap rows; lease: owner, fence
  dur, life,                        \* what is flushed; starts of the server
  rel,                              \* the relays' memory
  flight, clash,                    \* cursor writes on their way; a gap row was
                                    \* inserted that is there
  first, kept, hi,                  \* first publications; at the consumer
  ncrash, nbreak, ndie
log    == <<seq, owner, st, corder>>
cursor == <<cpos, cgaps>>
lease  == <<lo, lf>>
server == <<dur, life>>
world  == <<first, kept, hi>>
budget == <<ncrash, nbreak, ndie>>
vars   == <<log, cursor, lease, server, rel, flight, clash, world, budget>>

Range(s)   == { s[i] : i \in 1..Len(s) }
Max(S)     == CHOOSE m \in S : \A x \in S : x <= m
Min(S)     == CHOOSE m \in S : \A x \in S : x >= m
SortSet(S) == CHOOSE s \in [1..Cardinality(S) -> S] :
                \A i, j \in 1..Cardinality(S) : i < j => s[i] < s[j]
Vis        == Range(corder)
Nobody     == "nobody"

Now  == [seq |-> seq, owner |-> owner, corder |-> corder, cpos |-> cpos,
         cgaps |-> cgaps, lo |-> lo, lf |-> lf]
Out  == [ph |-> "out", f |-> 0, pos |-> 0, mg |-> {}, win |-> <<>>,
         wpos |-> 0, wgaps |-> {}, life |-> 0]

Init == /\ seq = 0 /\ owner = <<>> /\ st = [t \in Tx |-> "idle"] /\ corder = <<>>
        /\ cpos = 0 /\ cgaps = {} /\ lo = Nobody /\ lf = 0
        /\ life = 0 /\ dur = Now
        /\ rel = [r \in Relay |-> Out] /\ flight = {} /\ clash = FALSE
        /\ first = <<>> /\ kept = {} /\ hi = [k \in { Key[t] : t \in Tx } |-> <<0, 0>>]
        /\ ncrash = 0 /\ nbreak = 0 /\ ndie = 0
-----------------------------------------------------------------------------
(* applications *)
Draw(t) == /\ st[t] = "idle"
           /\ \A u \in Tx : Key[u] = Key[t] => st[u] # "open"
           /\ seq' = seq + 1 /\ owner' = Append(owner, t)
           /\ st' = [st EXCEPT ![t] = "open"] /\ UNCHANGED corder
End(t)  == /\ st[t] = "open" /\ UNCHANGED <<seq, owner>>
           /\ \/ st' = [st EXCEPT ![t] = "committed"] /\ corder' = Append(corder, t)
              \/ st' = [st EXCEPT ![t] = "aborted"] /\ UNCHANGED corder
App == /\ \E t \in Tx : Draw(t) \/ End(t)
       /\ UNCHANGED <<cursor, lease, server, rel, flight, clash, world, budget>>

(* the server: WAL is flushed up to some point at any time; a crash goes back
   to it.  Seqs drawn after it are drawn again.                               *)
Tracked == MaxCrash > 0
Flush == /\ Tracked /\ dur # Now /\ dur' = Now
         /\ UNCHANGED <<log, cursor, lease, life, rel, flight, clash, world, budget>>
Durable(t) == ~Tracked \/ t \in Range(dur.corder)
Crash == /\ ncrash < MaxCrash /\ lf < MaxFence
         /\ ncrash' = ncrash + 1 /\ life' = life + 1
         /\ seq' = dur.seq /\ owner' = dur.owner /\ corder' = dur.corder
         /\ st' = [t \in Tx |-> IF st[t] = "idle" \/ t \in Range(dur.corder)
                                THEN st[t] ELSE "aborted"]
         /\ cpos' = dur.cpos /\ cgaps' = dur.cgaps /\ lo' = dur.lo /\ lf' = dur.lf
         /\ UNCHANGED <<dur, rel, flight, clash, world, nbreak, ndie>>
(* What is written with synchronous_commit = on flushes all that is before. *)
Sync == dur' = IF Tracked THEN [seq |-> seq, owner |-> owner, corder |-> corder,
                                cpos |-> cpos', cgaps |-> cgaps', lo |-> lo', lf |-> lf']
                          ELSE dur
-----------------------------------------------------------------------------
(* the lease.  Time is left out: a lease may expire at any moment, and a relay
   believes in its own until an answer says otherwise.                        *)
Loaded(f) ==
  [ph |-> "run", f |-> f, pos |-> cpos, mg |-> { g \in cgaps : g <= cpos },
   win |-> <<>>, wpos |-> cpos, wgaps |-> cgaps, life |-> life]

Acquire(r) == /\ rel[r].ph = "out"
              /\ lf < MaxFence
              /\ lo' = r /\ lf' = lf + 1
              /\ rel' = [rel EXCEPT ![r].ph = "load",
                                    ![r].f = lf + 1]
              \* a write of an older fence whose answer nobody awaits: whenever
              \* it lands it is refused
              /\ flight' = IF FenceRule = "off" \/ Renewal = "revive" THEN flight
                           ELSE { x \in flight : x.alive }
              /\ UNCHANGED cursor /\ Sync
              /\ UNCHANGED <<log, life, clash, world, budget>>
Stale(r) == rel[r].f # 0 /\ (lo # r \/ lf # rel[r].f)
Revive(r) == /\ Renewal = "revive" /\ Stale(r)
             /\ lo' = r /\ lf' = rel[r].f
             /\ UNCHANGED cursor /\ Sync
             /\ UNCHANGED <<log, life, rel, flight, clash, world, budget>>
Load(r) == /\ rel[r].ph = "load"
           /\ rel' = [rel EXCEPT ![r] = Loaded(@.f)]
           /\ UNCHANGED <<log, cursor, lease, server, flight, clash, world, budget>>

Orphaned(r) == { IF x.r = r THEN [x EXCEPT !.alive = FALSE] ELSE x : x \in flight }
(* It hears that the lease is gone. *)
Lose(r) == /\ Stale(r)
           /\ rel' = [rel EXCEPT ![r] = Out] /\ flight' = Orphaned(r)
           /\ UNCHANGED <<log, cursor, lease, server, clash, world, budget>>
Die(r)  == /\ ndie < MaxDie /\ rel[r].f # 0 /\ lf < MaxFence /\ ndie' = ndie + 1
           /\ rel' = [rel EXCEPT ![r] = Out] /\ flight' = Orphaned(r)
           /\ UNCHANGED <<log, cursor, lease, server, clash, world, ncrash, nbreak>>
-----------------------------------------------------------------------------
(* reading and publishing *)
Read(r) ==
  LET m    == rel[r]
      rows == { i \in 1..seq : owner[i] \in Vis /\ (i > m.pos \/ i \in m.mg) }
      npos == IF rows = {} \/ Max(rows) < m.pos THEN m.pos ELSE Max(rows)
      new  == ((m.pos + 1)..npos) \ rows
      add  == [n \in 1..Cardinality(rows) |->
                [s |-> SortSet(rows)[n], t |-> owner[SortSet(rows)[n]],
                 late |-> SortSet(rows)[n] <= m.pos, ok |-> Barrier = "off"]]
  IN /\ m.ph = "run"
     /\ IF m.life # life /\ Memory = "reload"
        THEN rel' = [rel EXCEPT ![r] = [Out EXCEPT !.ph = "load", !.f = m.f]]
             /\ flight' = Orphaned(r)
        ELSE /\ rows # {} \/ m.life # life
             /\ rel' = [rel EXCEPT ![r] = [@ EXCEPT
                           !.pos = npos, !.mg = (m.mg \ rows) \cup new,
                           !.win = @ \o add, !.life = life]]
             /\ UNCHANGED flight
     /\ UNCHANGED <<log, cursor, lease, server, clash, world, budget>>
Forget(r, g) == /\ rel[r].ph = "run" /\ rel[r].life = life
                /\ g \in rel[r].mg /\ g <= seq /\ st[owner[g]] = "aborted"
                /\ rel' = [rel EXCEPT ![r].mg = @ \ {g}]
                /\ UNCHANGED <<log, cursor, lease, server, flight, clash, world, budget>>
(* An answer of the database says how far it has flushed. *)
Flushed(r) == /\ rel[r].ph = "run" /\ rel[r].life = life
              /\ LET w == rel[r].win
                     ok == [n \in 1..Len(w) |-> [w[n] EXCEPT !.ok = @ \/ Durable(w[n].t)]]
                 IN ok # w /\ rel' = [rel EXCEPT ![r].win = ok]
              /\ UNCHANGED <<log, cursor, lease, server, flight, clash, world, budget>>
Newer(a, b) == a[1] > b[1] \/ (a[1] = b[1] /\ a[2] > b[2])
Publish(r) ==
  LET e    == Head(rel[r].win)
      here == <<rel[r].f, e.s>>
      k    == Key[e.t]
  IN /\ rel[r].ph = "run" /\ rel[r].win # <<>> /\ e.ok
     /\ rel' = [rel EXCEPT ![r].win = Tail(@)]
     /\ first' = IF <<e.s, e.t>> \in Range(first) THEN first ELSE Append(first, <<e.s, e.t>>)
     /\ IF Newer(hi[k], here) THEN UNCHANGED <<kept, hi>>
        ELSE kept' = kept \cup {<<e.s, e.t>>} /\ hi' = [hi EXCEPT ![k] = here]
     /\ UNCHANGED <<log, cursor, lease, server, flight, clash, budget>>
-----------------------------------------------------------------------------
(* the cursor *)
TailOf(r)  == { w.s : w \in { x \in Range(rel[r].win) : ~x.late } }
LateOf(r)  == { w.s : w \in { x \in Range(rel[r].win) : x.late } }
WPos(r)  == IF WriteRule = "early" \/ TailOf(r) = {} THEN rel[r].pos ELSE Min(TailOf(r)) - 1
WGaps(r) == { g \in rel[r].mg \cup (IF WriteRule = "early" THEN {} ELSE LateOf(r)) :
                g <= WPos(r) }
Write(r) ==
  LET m == rel[r] IN
  /\ m.ph = "run" /\ \A x \in flight : ~(x.r = r /\ x.alive)
  /\ \/ <<WPos(r), WGaps(r)>> # <<m.wpos, m.wgaps>>
     \/ Force /\ \E w \in Range(m.win) : ~w.ok /\ ~Durable(w.t)
  /\ flight' = flight \cup
       {[r |-> r, f |-> m.f, life |-> m.life, alive |-> TRUE, pos |-> WPos(r),
         put |-> WGaps(r) \ m.wgaps, del |-> m.wgaps \ WGaps(r)]}
  /\ UNCHANGED <<log, cursor, lease, server, rel, clash, world, budget>>
Accepted(x) == /\ FenceRule = "off" \/ (lo = x.r /\ lf = x.f)
               /\ Life = "any" \/ x.life = life
Land(x) ==
  /\ flight' = flight \ {x}
  /\ IF Accepted(x)
     THEN /\ cpos' = x.pos /\ cgaps' = (cgaps \ x.del) \cup x.put
          /\ clash' = (clash \/ x.put \cap (cgaps \ x.del) # {})
          /\ rel' = IF x.alive
                    THEN [rel EXCEPT ![x.r].wpos = x.pos,
                                     ![x.r].wgaps = (@ \ x.del) \cup x.put]
                    ELSE rel
     ELSE /\ UNCHANGED <<cpos, cgaps, clash>>
          /\ rel' = IF x.alive THEN [rel EXCEPT ![x.r] = Out] ELSE rel
  /\ UNCHANGED lease /\ Sync /\ UNCHANGED <<log, life, world, budget>>
(* The connection breaks: the write may land later, at once (with the answer
   lost) or never.                                                            *)
Answerless(r, x) ==
  CASE Unknown = "fence"   -> Out
    [] Unknown = "reload"  -> [rel[r] EXCEPT !.ph = "load", !.win = <<>>]
    [] Unknown = "written" -> [rel[r] EXCEPT !.wpos = x.pos, !.wgaps = (@ \ x.del) \cup x.put]
    [] Unknown = "not"     -> rel[r]
Break(x) == /\ nbreak < MaxBreak /\ x.alive /\ lf < MaxFence /\ nbreak' = nbreak + 1
            /\ flight' = (flight \ {x}) \cup {[x EXCEPT !.alive = FALSE]}
            /\ rel' = [rel EXCEPT ![x.r] = Answerless(x.r, x)]
            /\ UNCHANGED <<log, cursor, lease, server, clash, world, ncrash, ndie>>
Vanish(x) == /\ ~x.alive /\ flight' = flight \ {x}
             /\ UNCHANGED <<log, cursor, lease, server, rel, clash, world, budget>>

Work(r) == Acquire(r) \/ Load(r) \/ Lose(r) \/ Read(r) \/ Flushed(r) \/ Publish(r)
           \/ Write(r) \/ (\E g \in rel[r].mg : Forget(r, g))
Next == \/ App \/ Flush \/ Crash
        \/ \E r \in Relay : Work(r) \/ Revive(r) \/ Die(r)
        \/ \E x \in flight : Land(x) \/ Break(x) \/ Vanish(x)
Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Passed == { <<i, owner[i]>> : i \in { j \in 1..seq : owner[j] \in Vis /\ j <= cpos /\ j \notin cgaps } }
(* [INV-1], [INV-5]: passed is published *)
NoLoss     == Passed \subseteq Range(first)
(* and whoever drops by outtray-order has it *)
NoKeptLoss == Passed \subseteq kept
(* [INV-2]: published is committed, and stays so *)
NoGhost    == \A e \in Range(first) : e[2] \in Vis
(* the log is never behind the cursor *)
NotAhead   == cpos <= seq
(* a gap row is inserted once *)
NoClash    == ~clash
(* [INV-3] *)
First(e)   == CHOOSE n \in 1..Len(first) : first[n] = e
Commit(t)  == CHOOSE n \in 1..Len(corder) : corder[n] = t
Order == \A e \in Range(first) : \A i \in 1..seq :
   (/\ e[2] \in Vis /\ owner[i] \in Vis /\ owner[i] # e[2] /\ Key[owner[i]] = Key[e[2]]
    /\ Commit(owner[i]) < Commit(e[2]))
     => (<<i, owner[i]>> \in Range(first) /\ First(<<i, owner[i]>>) < First(e))
(* [INV-11] *)
FenceGrows == [][lf' >= lf]_lf
Fair == /\ Spec
        /\ \A t \in Tx : WF_vars(End(t) /\ UNCHANGED <<cursor, lease, server, rel, flight, clash, world, budget>>)
        /\ \A r \in Relay : /\ WF_vars((\A q \in Relay : rel[q].f = 0) /\ Acquire(r)) /\ WF_vars(Load(r)) /\ WF_vars(Lose(r))
                            /\ WF_vars(Read(r)) /\ WF_vars(Flushed(r)) /\ WF_vars(Publish(r))
                            /\ WF_vars(Write(r)) /\ WF_vars(\E g \in rel[r].mg : Forget(r, g))
        /\ WF_vars(\E x \in flight : x.alive /\ Land(x))
(* Once no relay fails any more, everything is delivered and passed. *)
Delivered == <>[](\A i \in 1..seq : owner[i] \in Vis => (<<i, owner[i]>> \in kept /\ i <= cpos /\ i \notin cgaps))
=============================================================================
