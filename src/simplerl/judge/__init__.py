"""Models that judge, behind OpenAI-compatible endpoints: one client for behaviours and for rewards.

    endpoint.Endpoint             one request → `Reply`; the only door of `openai`; the key is never shown or kept
    asking.ask                    many requests at once: every answer kept the moment it arrives, bounded in time
    asking.AnswerCache            answers by content address on disk: nothing is paid for twice, a killed call goes on
    asking.content_address        the key of an answer: a hash of everything that it depends on
    asking.estimate_tokens, cost  what requests will cost, before any is sent

No answer is never an opinion: what could not be asked or read is undecided.
"""
