----------------------------- MODULE Retention -----------------------------
(* Several subscriptions of one log, and the retention that passes all of them.
   Each has its own cursor, filter and held events; prune looks at all cursors in
   one snapshot.  As in Takeover, the results of Pipeline are taken as given: a
   read is one step, and a gap dies when its transaction is gone.             *)
EXTENDS Naturals, Sequences, FiniteSets

CONSTANTS Tx, Per, Sub,  \* Per: [Tx -> max events]; Sub: subscriptions
          Filt,          \* [Sub -> transactions whose events its filter excludes]
          PruneRule,     \* "all" | "one": the cursor of the pruner alone | "nogaps" | "noheld"
                         \* | "gapsfirst": gaps and held events in an older snapshot than positions
          MaxCrash

VARIABLES owner, st,                    \* the log: who drew which seq, [Tx -> state]
          pruned, seen,                 \* deleted; what a prune under way has seen of gaps and held
          cpos, cgaps, cheld,           \* cursors, as written
          mpos, mg, mheld, win, done,   \* relays; done: settled for the subscription
          ncrash
log  == <<owner, st>>
cur  == <<cpos, cgaps, cheld>>
mem  == <<mpos, mg, mheld, win, done>>
vars == <<log, pruned, seen, cur, mem, ncrash>>

Seqs   == 1..Len(owner)
Vis    == { i \in Seqs : st[owner[i]] = "committed" }
Gone   == { i \in Seqs : st[owner[i]] = "aborted" }
Max(S) == CHOOSE m \in S : \A x \in S : x <= m
Min(S) == CHOOSE m \in S : \A x \in S : x >= m

Init == /\ owner = <<>> /\ st = [t \in Tx |-> "idle"] /\ pruned = {} /\ seen = <<>>
        /\ cpos = [s \in Sub |-> 0] /\ cgaps = [s \in Sub |-> {}] /\ cheld = cgaps
        /\ mpos = cpos /\ mg = cgaps /\ mheld = cgaps /\ win = cgaps /\ done = cgaps
        /\ ncrash = 0
-----------------------------------------------------------------------------
Draw(t) == /\ st[t] \in {"idle", "open"}
           /\ Cardinality({ i \in Seqs : owner[i] = t }) < Per[t]
           /\ owner' = Append(owner, t) /\ st' = [st EXCEPT ![t] = "open"]
End(t)  == st[t] = "open" /\ \E e \in {"committed", "aborted"} : st' = [st EXCEPT ![t] = e]
           /\ UNCHANGED owner
Writer  == (\E t \in Tx : Draw(t) \/ End(t)) /\ UNCHANGED <<pruned, seen, cur, mem, ncrash>>

(* win: <<seq, did it come out of a gap>> *)
InWin(s) == { w[1] : w \in win[s] }
Read(s) ==
  LET C    == { i \in Vis \ pruned : i > mpos[s] \/ i \in mg[s] }
      npos == IF C = {} THEN mpos[s] ELSE IF Max(C) > mpos[s] THEN Max(C) ELSE mpos[s]
      want == { i \in C : owner[i] \notin Filt[s] /\ i \notin mheld[s] }
  IN /\ mpos' = [mpos EXCEPT ![s] = npos]
     /\ mg' = [mg EXCEPT ![s] = ((@ \ Gone) \cup ((mpos[s] + 1)..npos)) \ C]
     /\ win' = [win EXCEPT ![s] = @ \cup { <<i, i <= mpos[s]>> : i \in want }]
     /\ <<mpos', mg', win'>> # <<mpos, mg, win>>
     /\ UNCHANGED <<log, pruned, seen, cur, mheld, done, ncrash>>
Out(s, w) == win' = [win EXCEPT ![s] = @ \ {w}]
Settle(s) == /\ \E w \in win[s] : Out(s, w) /\ done' = [done EXCEPT ![s] = @ \cup {w[1]}]
             /\ UNCHANGED <<log, pruned, seen, cur, mpos, mg, mheld, ncrash>>
Hold(s)   == /\ \E w \in win[s] : Out(s, w) /\ mheld' = [mheld EXCEPT ![s] = @ \cup {w[1]}]
             /\ UNCHANGED <<log, pruned, seen, cur, mpos, mg, done, ncrash>>
(* It is fetched by its seq: the row has to be there. *)
Again(s)  == /\ \E i \in mheld[s] \ pruned : /\ mheld' = [mheld EXCEPT ![s] = @ \ {i}]
                                             /\ done' = [done EXCEPT ![s] = @ \cup {i}]
             /\ UNCHANGED <<log, pruned, seen, cur, mpos, mg, win, ncrash>>

Tail_(s) == { w[1] : w \in { x \in win[s] : ~x[2] } }
Late(s)  == { w[1] : w \in { x \in win[s] : x[2] } }
Pos(s)   == IF Tail_(s) = {} THEN mpos[s] ELSE Min(Tail_(s)) - 1
Write(s) == /\ cpos' = [cpos EXCEPT ![s] = Pos(s)]
            /\ cgaps' = [cgaps EXCEPT ![s] = { g \in mg[s] \cup Late(s) : g <= Pos(s) }]
            /\ cheld' = [cheld EXCEPT ![s] = mheld[s]]
            /\ cur' # cur
            /\ UNCHANGED <<log, pruned, seen, mem, ncrash>>
Crash(s) == /\ ncrash < MaxCrash /\ ncrash' = ncrash + 1
            /\ mpos' = [mpos EXCEPT ![s] = cpos[s]] /\ mg' = [mg EXCEPT ![s] = cgaps[s]]
            /\ mheld' = [mheld EXCEPT ![s] = cheld[s]] /\ win' = [win EXCEPT ![s] = {}]
            /\ UNCHANGED <<log, pruned, seen, cur, done>>

(* Whose relay prunes: any one's, for all. *)
Kept(s, gaps, held) == (IF PruneRule = "nogaps" THEN {} ELSE gaps[s])
                       \cup (IF PruneRule = "noheld" THEN {} ELSE held[s])
Asked(s) == IF PruneRule = "one" THEN {s} ELSE Sub
Delete(s, gaps, held) ==
  LET P == { i \in Vis : \A u \in Asked(s) : i <= cpos[u] /\ i \notin Kept(u, gaps, held) }
  IN ~(P \subseteq pruned) /\ pruned' = pruned \cup P
Look  == /\ PruneRule = "gapsfirst" /\ seen = <<>> /\ seen' = <<cgaps, cheld>>
         /\ UNCHANGED <<log, pruned, cur, mem, ncrash>>
Prune == /\ IF PruneRule = "gapsfirst"
            THEN seen # <<>> /\ (\E s \in Sub : Delete(s, seen[1], seen[2])) /\ seen' = <<>>
            ELSE (\E s \in Sub : Delete(s, cgaps, cheld)) /\ UNCHANGED seen
         /\ UNCHANGED <<log, cur, mem, ncrash>>

Next == Writer \/ Look \/ Prune
        \/ \E s \in Sub : Read(s) \/ Settle(s) \/ Hold(s) \/ Again(s) \/ Write(s) \/ Crash(s)
Spec == Init /\ [][Next]_vars
-----------------------------------------------------------------------------
Wanted(s, i) == i \in Vis /\ owner[i] \notin Filt[s]
(* Nothing goes that some subscription still has to deliver. *)
PruneSafe == \A s \in Sub : \A i \in pruned : Wanted(s, i) => i \in done[s]
NoLoss == \A s \in Sub : \A i \in Seqs :
   Wanted(s, i) /\ i <= cpos[s] /\ i \notin cgaps[s] \cup cheld[s] => i \in done[s]
(* … and what is nobody's business any more does go. *)
Fair == /\ Spec /\ WF_vars(Prune)
        /\ \A s \in Sub : WF_vars(Read(s)) /\ WF_vars(Settle(s)) /\ WF_vars(Again(s)) /\ WF_vars(Write(s))
        /\ \A t \in Tx : WF_vars(End(t) /\ UNCHANGED <<pruned, seen, cur, mem, ncrash>>)
Emptied == <>[](pruned = Vis)
=============================================================================
