"""Answers to what switches ask (`controller.pipeline.questions`): bytes and the model in, bytes out.

A kind of answer is one file, with a function for each question and a table of them by the name `ANSWERS`:

    def answer(asked: Asked) -> Iterable[PacketOut]:
        ...
        yield asked.back(frame)                    to who asked, past all tables

    ANSWERS: Mapping[Question, Answerer] = {Question.ROUTER: answer}

Nothing is registered elsewhere: `registry.answerers` finds the tables. An answerer that remembers something, or tells the engine what it
has learnt, is a method of an object of `controller.engine` with the same signature, and is given to `Questions.register`.

An answerer is called in the one thread that answers, never in the engine's or a switch's. It need not be quick, and it must not wait.
What it raises costs the question and is logged. Who asks is not believed: what `asked.packet` holds may be cut off or forged in every
way that the flows which ask let pass.
"""
