"""What the words of a text say about it: whether it asks for something, announces tasks, or points back at a task."""

from __future__ import annotations

import re

ANSWER_WORDS = (
    "answers?|a|output|response|assistant|solution|result|antwort|ausgabe|lösung|respuesta|solución|réponse|resposta|"
    "risposta|antwoord|odpowiedź|cevap|ответ|решение|відповідь|(?:ال)?إجابة|(?:ال)?جواب|उत्तर|答案|答|回答|答え|解答|정답|답변|답"
)
"""What stands before an answer, as a pattern."""

# Verbs that open a request, in the base form of English and the imperative of other languages.
_VERBS = """
    add analy[sz]e answer apply argue arrange ask assess brainstorm break build calculate categori[sz]e change check
    choose cite classify clean combine come comment compare complete compose compute conjugate construct continue
    convert correct count create critique debug decide decode define demonstrate derive describe design determine
    develop differentiate discuss divide draft draw edit elaborate encode estimate evaluate examine explain explore
    expand extract factor(?:i[sz]e)? fill find finish fix format formulate generate give guess help identify
    illustrate imagine implement improve infer integrate interpret invent justify label let list locate make match
    modify multiply name optimi[sz]e order outline output paraphrase parse pick plan plot point predict prepare
    present print produce proofread propose prove provide rank rate read recommend refactor rephrase replace report
    respond reverse review revise rewrite round say select show simplify simulate sketch solve sort specify spell
    split state subtract suggest sum summari[sz]e take tell test think transcribe transform translate trace unscramble
    update use verify visuali[sz]e walk write
    analysiere beantworte begründe berechne beschreibe bestimme ergänze erkläre erstelle erzähle fasse finde formuliere
    gib korrigiere liste löse nenne ordne prüfe schlage schreibe? sortiere übersetze vergleiche wähle zähle zeige
    analyse calcule cite compare compte corrige crée décris détermine donne écris explique fais nomme propose rédige
    résous résume traduis trie trouve
    analiza calcula clasifica compara corrige crea cuenta da define describe di enumera escribe explica haz indica
    nombra ordena propón redacta resuelve resume traduce
    calcola correggi crea descrivi elenca riassumi risolvi scrivi spiega traduci trova
    calcule corrija crie descreva escreva explique liste resolva resuma traduza
"""
_FILLER = r"(?:(?:please|also|now|next|then|and|kindly|briefly|bitte|por favor|s'il te plaît|s'il vous plaît)[,:]?\s+)*"
_IMPERATIVE = re.compile(rf"\W*{_FILLER}(?:{'|'.join(_VERBS.split())})\b", re.IGNORECASE)
_QUESTION_WORD = re.compile(
    rf"\W*{_FILLER}(?:what|which|who|whom|whose|when|where|why|how|is|are|was|were|do|does|did|can|could|would|"
    r"will|should|has|have|if|in what|in which|was|wer|wie|warum|wann|wo|welche[rs]?|qu[eé]|qui[eé]n|cu[aá]l|cu[aá]ndo|"
    r"d[oó]nde|c[oó]mo|quel(?:le)?s?|qui|quand|comment|pourquoi|combien)\b",
    re.IGNORECASE,
)
_PLEA = re.compile(
    r"\b(?:please|could you|can you|would you|help me|i (?:need|want|would like)|bitte|por favor)\b", re.I
)
_EAST_ASIAN_REQUEST = re.compile(
    r"[？?]|请|把[^把\n]+(?:翻译|改|写)|吗|ください|下さい|教えて|か。?$|해 ?줘|하세요|주세요|까요|무엇"
)
_EAST_ASIAN_IMPERATIVE = re.compile(
    r"\W*(?:请|請|把|将|計算|计算|写|寫|翻译|翻譯|解释|解釋|列出|说明|說明|总结|總結|比较|比較|给出|描述|证明|求|用)"
)
_QUESTION_END = re.compile(r"[?？؟][\"'”»)\]*_]*\s*(?:$|\n|\s)")

_ANNOUNCED = re.compile(
    r"\b(?:answers?|solve|do|complete|address|handle|responses? to|respond to|reply to|work (?:on|through)|tackle|"
    r"help(?:ing)?\b[^.\n]*\bwith|finish|perform|carry out|process)\b[^.\n?]*\b(?:(?:question|task|problem|"
    r"exercise|request|prompt|item|thing|part|input|instruction|message)s|queries|(?:each|every) "
    r"(?:question|task|problem|exercise|request|prompt|item|part|input|instruction|message)|"
    r"each(?: of them)?(?=\s*[.:])|of (?:them|these)|(?:the )?following(?=\s*:))\b"
    r"|\b(?:beantworte|antworte|löse|bearbeite|erledige)n?\b[^.\n?]*\b(?:fragen|(?:teil)?aufgaben|probleme|punkte)\b"
    r"|\b(?:respond(?:a|e|an|er)|resuelv[ae]n?|contest[ae]n?|realiza|complet[ae])\b[^.\n?]*"
    r"\b(?:preguntas|tareas|problemas|ejercicios|perguntas|tarefas|questões)\b"
    r"|\b(?:répond(?:s|ez|re)|réso(?:us|lvez)|traite[rz]?|effectue[rz]?)\b[^.\n?]*\b(?:questions|tâches|problèmes|exercices)\b"
    r"|\b(?:rispond(?:i|ete|ere)|risolv(?:i|ete)|svolgi)\b[^.\n?]*\b(?:domande|compiti|problemi|esercizi)\b"
    r"|\bresolva\b[^.\n?]*\b(?:problemas|tarefas|exercícios)\b|\bbeantwoord\b[^.\n?]*\bvragen\b"
    r"|\bodpowiedz\b[^.\n?]*\bpytania\b|\bsorular\w*\b[^.\n?]*\b(?:cevapla|yanıtla)\w*"
    r"|\b(?:ответь|реши|выполни)(?:те)?\b[^.\n?]*\b(?:вопрос|задач|задани)\w*"
    r"|(?:أجب|أجيبوا|أجيبي|حل|أكمل|نفذ)\b[^.\n؟]{0,40}(?:أسئلة|مهام|مسائل)"
    r"|(?:回答|解决|完成|解答).{0,12}(?:问题|任务|题|問題)|(?:質問|問題|問い|課題|タスク).{0,8}(?:答え|解|回答)"
    r"|(?:질문|문제|과제|작업).{0,8}(?:답|해결|풀|수행)",
    re.IGNORECASE,
)
_ANNOUNCEMENT = re.compile(
    r"(?:please |kindly |bitte |now )?(?:answer|solve|do|complete|beantworte|löse|responde(?: a)?|"
    r"réponds(?: à| aux)?)"
    r"(?: all(?: of)?| each of)?(?: the| these| my| die| las?| los| les)?(?: \w+)?(?: following| below|"
    r" folgenden| siguientes)?"
    r"(?: questions?| tasks?| problems?| fragen| aufgaben| preguntas| tareas)"
    r"(?: below| suivantes| siguientes)?\s*[:.]?",
    re.IGNORECASE,
)
_LISTED = re.compile(r"\b(?:questions|tasks|problems|requests|things|todos)\b[^.\n?]{0,30}:\s*$", re.IGNORECASE)
_CHOOSE = re.compile(r"\W*(?:choose|select|pick|tick|mark|which)\b", re.IGNORECASE)
# "Translate the following questions" is one task about questions.
_MAKES_ITEMS = re.compile(
    r"\b(?:write|create|generate|make|design|prepare)\b[^.\n?]*\b(?:quiz|questions?|survey|form|test)\b",
    re.IGNORECASE,
)
_ABOUT_ANSWERS = re.compile(
    r"\b(?:answers?|each|all (?:questions|tasks|parts|of)|every|both|respond|reply|replies|responses?|number your|"
    r"numbered|antworte[nt]?|jeweils|respond[ae]|répond(?:s|ez)|respostas?|respuestas?|réponses?|rispost[ae]|"
    r"rispondi|ответ\w*|ответь(?:те)?)\b|(?:ال)?إجاب|أجب|回答|答え|答案|답",
    re.IGNORECASE,
)
# The words of an instruction at the end that holds for all tasks.
_ABOUT_ALL = re.compile(
    r"\b(?:answers|each|all|every|both|separately|in order|one line|number your|numbered|responses|replies|alle|"
    r"jede[nrs]?|jeweils|chacune?|chaque|toutes?|tous|cada|todas|todos|ogni|tutte|кажд\w+|все[хм]?)\b"
    r"|كل|每|各|分别|逐|それぞれ|すべて|각|모두",
    re.IGNORECASE,
)
_THANKS = re.compile(
    r"\W*(?:thanks|thank you|thx|many thanks|cheers|best(?: regards| wishes)?|(?:kind |warm )?regards|sincerely|danke|"
    r"vielen dank|viele grüße|merci|gracias|obrigad[oa]|grazie|спасибо|شكرا|ありがとう|谢谢|謝謝|감사)(?![\w'])",
    re.IGNORECASE,
)
_LONGEST_SENTENCE = 500
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])[\"')\]]*\s+|\n+")
_OPTIONS = re.compile(
    r"\n[ \t]*(?:options|choices|optionen|opciones)[ \t]*:|\n[ \t]*\(?a[.)]\s.*\n\s{0,40}\(?b[.)]\s", re.IGNORECASE
)
_EXERCISE = re.compile(r"(?:=|__|…|\bis|:)\s*\Z", re.IGNORECASE)
# Sentences that say how to answer, or what to assume, not what to do with the items.
_HOW = re.compile(
    r"\W*(?:please\s+)?(?:use|show|think|keep|give|explain|be|do not|don't|state|answer|respond|reply|read|consider|"
    r"imagine|assume|let|suppose|take|say|include|provide|lies?)\b",
    re.IGNORECASE,
)
_EAST_ASIAN = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
# Words that refer to something before them, and openings that qualify a request.
_OUTSIDE = re.compile(
    r"\b(?:it|its|this|that|these|those|them|they|their|he|she|his|her|above|below|following|same|previous|earlier|"
    r"each|both|the (?:response|text|questions?|sentences?|passage|article|story|code|conversation|document|e-?mail|"
    r"paragraph|list|table|data|user|chat|prompt|answer|example)s?)\b|\W*(?:simulate|act|pretend|make|ensure|do not|"
    r"don['’]t|use|include|add|keep|avoid|focus|start|end|begin|please note|consider|remember|format|return|output|"
    r"limit)\b",
    re.IGNORECASE,
)
_PRODUCT = (
    r"answer|result|output|solution|summary|text|list|code|function|class|translation|poem|story|essay|paragraph|number|"
    r"value|table|script|query|draft|email|response|sum|product|plan|outline|ergebnis|antwort|résultat|resultado"
)
_BACK = re.compile(
    rf"\b(?:(?:{_PRODUCT})s? (?:above|before|from before|(?:of|from|in|to) (?:the )?(?:previous|first|second|third|"
    rf"last|question|task|part|step|problem|q)\b)|(?:above|previous|preceding|earlier|resulting) "
    rf"(?:{_PRODUCT}|one|question|task|step|part)s?|your (?:own )?(?:{_PRODUCT})s?|"
    rf"(?:that|this|the) (?:result|summary|translation|output))\b"
    rf"|^\W*{_FILLER}\w+(?: (?:of|for|to|with))? (?:it|them|this|that|those|these)\b(?! (?:is|are|was|were|do|does)\b)"
    rf"|^\W*{_FILLER}\w+ (?:\w+ ){{1,4}}(?:for|of|to|with|about|from) (?:it|them)\b",
    re.IGNORECASE,
)


def is_request(text: str) -> bool:
    """Whether `text` by itself asks for something: a question, an imperative or a plea."""
    return bool(
        _IMPERATIVE.match(text)
        or _QUESTION_END.search(text)
        or (_QUESTION_WORD.match(text) and len(text.split()) > 2)
        or _PLEA.search(text)
        or _EAST_ASIAN_REQUEST.search(text)
        or _EAST_ASIAN_IMPERATIVE.match(text)
    )


def opens_as_request(text: str) -> bool:
    """Whether the first words of `text` ask for something, stricter than `is_request`."""
    first = re.split(r"(?<=[.!?])\s|(?<=[。！？])", text.strip(), maxsplit=1)[0]
    return bool(
        _IMPERATIVE.match(first)
        or (_QUESTION_WORD.match(first) and "?" in first)
        or _EAST_ASIAN_IMPERATIVE.match(first)
        or (_EAST_ASIAN.search(first) and _EAST_ASIAN_REQUEST.search(first))
    )


def stands_alone(text: str) -> bool:
    """Whether a request neither says how to answer another one nor mentions what stands outside it."""
    return not (_HOW.match(text) or _OUTSIDE.search(text) or points_back(text))


def announces_tasks(text: str) -> bool:
    """Whether `text` ends by saying that tasks follow, each to be answered."""
    last = last_sentence(text)
    return _announces(last) and not last.endswith("?") and not _MAKES_ITEMS.search(last)


def _announces(sentence: str) -> bool:
    # "Rank these questions:" is one task about questions.
    is_listed = _LISTED.search(sentence) and not _IMPERATIVE.match(sentence)
    return bool((_ANNOUNCED.search(sentence) or is_listed) and not _CHOOSE.match(sentence))


def asks_for_all(text: str) -> bool:
    """Whether `text` ends by asking that the tasks that follow be done."""
    last = last_sentence(text)
    return announces_tasks(text) and bool(opens_as_request(last) or _PLEA.search(last))


def without_announcement(text: str) -> str:
    """`text` without a last sentence that says nothing but that tasks follow."""
    last = last_sentence(text)
    return text.strip()[: -len(last)].strip() if last and _ANNOUNCEMENT.fullmatch(last) else text


def last_sentence(text: str) -> str:
    """The last sentence of `text`, or its last line where that is shorter."""
    return _SENTENCE_END.split(text.strip()[-_LONGEST_SENTENCE:])[-1].strip()


def works_on_items(text: str) -> bool:
    """Whether the last paragraph of `text` asks for something to be done with the items that follow."""
    sentences = _SENTENCE_END.split(text.strip()[-4 * _LONGEST_SENTENCE :].split("\n\n")[-1].strip())
    return any(
        (_IMPERATIVE.match(each) or each.endswith("?") or _EAST_ASIAN_REQUEST.search(each))
        and not _HOW.match(each)
        and not _announces(each)
        for each in sentences
    )


def is_exercise(text: str) -> bool:
    """Whether `text` is posed as an exam poses a question: with options, or with an end to be filled in."""
    return has_options(text) or bool(_EXERCISE.search(text.strip()))


def has_options(text: str) -> bool:
    """Whether answers to choose from are in `text`."""
    return bool(_OPTIONS.search(text))


def is_question(text: str) -> bool:
    """Whether a question mark ends a sentence of `text`."""
    return bool(_QUESTION_END.search(text))


def is_about_answers(text: str) -> bool:
    """Whether `text` says how to answer, rather than asking something new."""
    return bool(_ABOUT_ANSWERS.search(text)) and not _QUESTION_END.search(text)


def is_about_all(text: str) -> bool:
    """Whether `text` says how to answer several tasks."""
    return bool(_ABOUT_ALL.search(text)) and not _QUESTION_END.search(text) and len(text) < _LONGEST_SENTENCE


def is_thanks(text: str) -> bool:
    """Whether `text` is how a letter ends."""
    return bool(_THANKS.match(text)) and len(text) < _LONGEST_SENTENCE


def points_back(text: str) -> bool:
    """Whether a task needs the answer to one before it."""
    return bool(_BACK.search(text))
