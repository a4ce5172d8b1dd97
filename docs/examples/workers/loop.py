import outtray

with outtray.Relay("sqlite:shop.db", until_empty=True) as relay:
    for batch in relay.batches(max_events=100, linger=0.05):
        for event in batch:
            with event:
                print(event.seq, event.topic, event.payload)
