"""The part of the probes that a program cannot compute: passages, sentences in other languages, general knowledge."""

from __future__ import annotations

from typing import NamedTuple

Answers = str | int | list[str]
Choice = tuple[str, str, tuple[str, ...]]
"""A question, its right answer, and wrong answers."""


class Language(NamedTuple):
    """The parts of the questions in one language. `days` are the accepted names of the days, from Monday on."""

    code: str
    bakery: str
    apples: str
    weekday: str
    days: tuple[tuple[str, ...], ...]
    digits: str
    number: tuple[str, int]
    grammar: Choice
    idiom: Choice
    youngest: tuple[str, tuple[str, ...]]


LANGUAGES = (
    Language(
        "de",
        "Ein Bäcker verkauft am Vormittag {a} Brötchen und am Nachmittag {b} Brötchen mehr als am Vormittag. "
        "Wie viele Brötchen verkauft er an diesem Tag insgesamt?",
        "In einer Kiste liegen {a} Äpfel. {b} davon sind faul, der Rest wird gleichmäßig auf {c} Tüten verteilt. "
        "Wie viele Äpfel kommen in jede Tüte?",
        "Heute ist {day}. Welcher Wochentag ist in {n} Tagen?",
        (
            ("Montag",),
            ("Dienstag",),
            ("Mittwoch",),
            ("Donnerstag",),
            ("Freitag",),
            ("Samstag", "Sonnabend"),
            ("Sonntag",),
        ),
        "Schreibe diese Zahl in Ziffern: {words}",
        ("dreihundertsiebenundachtzig", 387),
        (
            "Welcher Satz ist grammatisch richtig?",
            "Ich habe dem Mann geholfen.",
            ("Ich habe den Mann geholfen.", "Ich habe der Mann geholfen.", "Ich habe des Mannes geholfen."),
        ),
        (
            "Was bedeutet die Redewendung „jemandem die Daumen drücken“?",
            "jemandem Glück wünschen",
            ("jemanden festhalten", "jemandem drohen", "jemanden zur Eile antreiben"),
        ),
        ("Anna ist älter als Ben. Ben ist älter als Clara. Wer von den dreien ist am jüngsten?", ("Clara",)),
    ),
    Language(
        "fr",
        "Un boulanger vend {a} croissants le matin et, l'après-midi, {b} croissants de plus que le matin. "
        "Combien de croissants vend-il en tout ce jour-là ?",
        "Une caisse contient {a} pommes. {b} d'entre elles sont pourries, et les autres sont réparties également dans "
        "{c} sacs. Combien de pommes y a-t-il dans chaque sac ?",
        "Aujourd'hui, nous sommes {day}. Quel jour de la semaine serons-nous dans {n} jours ?",
        (("lundi",), ("mardi",), ("mercredi",), ("jeudi",), ("vendredi",), ("samedi",), ("dimanche",)),
        "Écris ce nombre en chiffres : {words}",
        ("quatre-vingt-dix-sept mille deux cent trois", 97203),
        ("Complète la phrase : « Il faut que tu ___ à l'heure. »", "sois", ("es", "seras", "serais")),
        (
            "Que veut dire l'expression « poser un lapin à quelqu'un » ?",
            "ne pas venir à un rendez-vous",
            ("faire un cadeau à quelqu'un", "courir très vite", "préparer un bon repas"),
        ),
        ("Anna est plus âgée que Ben. Ben est plus âgé que Clara. Qui est le plus jeune des trois ?", ("Clara",)),
    ),
    Language(
        "es",
        "Un panadero vende {a} panecillos por la mañana y, por la tarde, {b} panecillos más que por la mañana. "
        "¿Cuántos panecillos vende en total ese día?",
        "En una caja hay {a} manzanas. {b} de ellas están podridas y el resto se reparte por igual en {c} bolsas. "
        "¿Cuántas manzanas hay en cada bolsa?",
        "Hoy es {day}. ¿Qué día de la semana será dentro de {n} días?",
        (
            ("lunes",),
            ("martes",),
            ("miércoles", "miercoles"),
            ("jueves",),
            ("viernes",),
            ("sábado", "sabado"),
            ("domingo",),
        ),
        "Escribe este número en cifras: {words}",
        ("quinientos veintiocho", 528),
        ("Completa la frase: «Espero que mañana no ___.»", "llueva", ("llueve", "lloverá", "llovía")),
        (
            "¿Qué significa la expresión «tomar el pelo a alguien»?",
            "burlarse de alguien",
            ("peinar a alguien", "enfadarse con alguien", "ayudar a alguien"),
        ),
        ("Anna es mayor que Ben. Ben es mayor que Clara. ¿Quién es la persona más joven de las tres?", ("Clara",)),
    ),
    Language(
        "pt",
        "Um padeiro vende {a} pães de manhã e, à tarde, mais {b} pães do que de manhã. "
        "Quantos pães vende no total nesse dia?",
        "Numa caixa há {a} maçãs. {b} delas estão podres, e o resto é dividido igualmente por {c} sacos. "
        "Quantas maçãs ficam em cada saco?",
        "Hoje é {day}. Que dia da semana será daqui a {n} dias?",
        (
            ("segunda-feira", "segunda"),
            ("terça-feira", "terça"),
            ("quarta-feira", "quarta"),
            ("quinta-feira", "quinta"),
            ("sexta-feira", "sexta"),
            ("sábado",),
            ("domingo",),
        ),
        "Escreve este número em algarismos: {words}",
        ("setecentos e quarenta e nove", 749),
        ("Completa a frase: «Se eu ___ tempo, iria contigo.»", "tivesse", ("tenho", "tiver", "teria")),
        (
            "O que significa a expressão «engolir sapos»?",
            "suportar coisas desagradáveis sem protestar",
            ("comer demasiado depressa", "contar mentiras", "ter muita sorte"),
        ),
        (
            "A Anna é mais velha do que o Ben. O Ben é mais velho do que a Clara. Quem é a pessoa mais nova das três?",
            ("Clara", "A Clara"),
        ),
    ),
    Language(
        "ru",
        "Утром пекарь продал {a} булочек, а днём — на {b} булочек больше, чем утром. "
        "Сколько всего булочек он продал за этот день?",
        "В ящике лежит {a} яблок. {b} из них гнилые, а остальные поровну разложили в {c} пакетов. "
        "Сколько яблок в каждом пакете?",
        "Сегодня {day}. Какой день недели будет через {n} дней?",
        (
            ("понедельник",),
            ("вторник",),
            ("среда", "среду"),
            ("четверг",),
            ("пятница", "пятницу"),
            ("суббота", "субботу"),
            ("воскресенье",),
        ),
        "Запиши это число цифрами: {words}",
        ("шестьсот девяносто четыре", 694),
        ("Дополни предложение: «Я горжусь ___».", "своим братом", ("своего брата", "своему брату", "свой брат")),
        (
            "Что означает выражение «вешать лапшу на уши»?",
            "обманывать",
            ("вкусно готовить", "громко петь", "внимательно слушать"),
        ),
        ("Анна старше Бориса. Борис старше Клары. Кто из них самый младший?", ("Клара",)),
    ),
    Language(
        "zh",
        "面包师上午卖了{a}个面包,下午比上午多卖了{b}个。他这一天一共卖了多少个面包?",
        "箱子里有{a}个苹果,其中{b}个坏了,其余的平均装进{c}个袋子。每个袋子里有几个苹果?",
        "今天是{day}。{n}天以后是星期几?",
        (
            ("星期一", "周一", "礼拜一", "一"),
            ("星期二", "周二", "礼拜二", "二"),
            ("星期三", "周三", "礼拜三", "三"),
            ("星期四", "周四", "礼拜四", "四"),
            ("星期五", "周五", "礼拜五", "五"),
            ("星期六", "周六", "礼拜六", "六"),
            ("星期日", "星期天", "周日", "周天", "礼拜天", "日", "天"),
        ),
        "请用阿拉伯数字写出这个数:{words}",
        ("三千零五十六", 3056),
        ("选择正确的量词:草地上有一___马。", "匹", ("张", "本", "把")),
        ("成语“画蛇添足”是什么意思?", "做多余的事,反而不好", ("画画得很好", "做事非常小心", "走得很快")),
        ("小安比小本大,小本比小兰大。他们三个人中谁最小?", ("小兰",)),
    ),
    Language(
        "ja",
        "パン屋は午前中にパンを{a}個売り、午後は午前より{b}個多く売りました。この日、全部で何個のパンを売りましたか。",
        "箱にりんごが{a}個入っています。そのうち{b}個は腐っていて、残りを{c}つの袋に同じ数ずつ分けます。1袋に何個入りますか。",
        "今日は{day}です。{n}日後は何曜日ですか。",
        (
            ("月曜日", "月曜", "月"),
            ("火曜日", "火曜", "火"),
            ("水曜日", "水曜", "水"),
            ("木曜日", "木曜", "木"),
            ("金曜日", "金曜", "金"),
            ("土曜日", "土曜", "土"),
            ("日曜日", "日曜", "日"),
        ),
        "次の数を算用数字で書いてください:{words}",
        ("二万四千八百", 24800),
        ("正しい助詞を選んでください:私は毎朝七時( )起きます。", "に", ("を", "が", "へ")),
        ("「猫の手も借りたい」とはどういう意味ですか。", "とても忙しい", ("猫が好きだ", "とても寒い", "お金がない")),
        (
            "アンナはベンより年上です。ベンはクララより年上です。三人の中で一番若いのは誰ですか。",
            ("クララ", "クララさん"),
        ),
    ),
    Language(
        "ar",
        "باع خباز {a} رغيفًا في الصباح، وباع بعد الظهر {b} رغيفًا أكثر مما باع في الصباح. كم رغيفًا باع في ذلك اليوم كله؟",
        "في الصندوق {a} تفاحة، منها {b} تفاحة فاسدة، ويوزَّع الباقي بالتساوي على {c} أكياس. كم تفاحة في كل كيس؟",
        "اليوم هو {day}. أي يوم من أيام الأسبوع سيكون بعد {n} يومًا؟",
        (
            ("الاثنين", "الإثنين", "يوم الاثنين", "يوم الإثنين"),
            ("الثلاثاء", "يوم الثلاثاء"),
            ("الأربعاء", "الاربعاء", "يوم الأربعاء"),
            ("الخميس", "يوم الخميس"),
            ("الجمعة", "يوم الجمعة"),
            ("السبت", "يوم السبت"),
            ("الأحد", "الاحد", "يوم الأحد"),
        ),
        "اكتب هذا العدد بالأرقام: {words}",
        ("خمسمئة وثلاثة وأربعون", 543),
        ("أكمل الجملة: «الطالبات ___ الدرس.»", "يكتبن", ("يكتبون", "يكتبان", "يكتب")),
        (
            "ما معنى التعبير «ضرب عصفورين بحجر واحد»؟",
            "حقّق هدفين بعمل واحد",
            ("اصطاد الطيور", "أخطأ الهدف", "أضاع وقته"),
        ),
        ("سارة أكبر من ليلى، وليلى أكبر من مريم. من الصغرى بينهن؟", ("مريم",)),
    ),
    Language(
        "hi",
        "एक बेकर ने सुबह {a} रोटियाँ बेचीं और दोपहर बाद सुबह से {b} रोटियाँ ज़्यादा बेचीं। उस दिन उसने कुल कितनी रोटियाँ बेचीं?",
        "एक पेटी में {a} सेब हैं। उनमें से {b} सड़े हुए हैं और बाकी सेब {c} थैलियों में बराबर बाँटे जाते हैं। हर थैली में कितने सेब हैं?",
        "आज {day} है। {n} दिन बाद कौन-सा वार होगा?",
        (
            ("सोमवार",),
            ("मंगलवार",),
            ("बुधवार",),
            ("गुरुवार", "बृहस्पतिवार", "वीरवार"),
            ("शुक्रवार",),
            ("शनिवार",),
            ("रविवार", "इतवार"),
        ),
        "इस संख्या को अंकों में लिखिए: {words}",
        ("सात सौ पच्चीस", 725),
        ('वाक्य पूरा कीजिए: "मैंने रोटी ___।"', "खाई", ("खाया", "खाए", "खाऊँगा")),
        ('मुहावरा "नौ दो ग्यारह होना" का क्या अर्थ है?', "भाग जाना", ("गिनती करना", "बहुत खुश होना", "बीमार पड़ना")),
        ("अनीता बीना से बड़ी है। बीना चित्रा से बड़ी है। तीनों में सबसे छोटी कौन है?", ("चित्रा",)),
    ),
)

PASSAGES: tuple[tuple[str, tuple[tuple[str, Answers, str, int], ...]], ...] = (
    (
        (
            "The old ferry between the islands runs only from April to October. It leaves the harbour at seven in the"
            " morning, takes forty minutes to cross, and waits a quarter of an hour before it turns back. Bicycles"
            " travel free, dogs pay half of the adult fare of eight euros, and children under six pay nothing. In July"
            " a second boat joins it, because the queues grew so long that the bakery on the pier began to sell"
            " breakfast to those who waited."
        ),
        (
            ("In which month does the ferry season end?", "October", "text", 1),
            ("How many euros does a dog's crossing cost?", 4, "number", 2),
            (
                "Two adults, a child of four and two bicycles cross once. How many euros do they pay together?",
                16,
                "number",
                3,
            ),
            (
                "At what time does the first ferry arrive back in the harbour? Write HH:MM.",
                ["8:35", "08:35"],
                "text",
                4,
            ),
        ),
    ),
    (
        (
            "Mrs Okafor meant to sell the piano. She had placed an advertisement, and three people had come to look at"
            " it. The first, a student, tried every key and asked whether the price was final. The second measured the"
            " staircase and left without a word. The third, a retired postman, sat down and played the tune that her"
            " husband used to play on Sunday evenings. When he had finished, she told him that the piano had already"
            " been sold. That night she took the advertisement down."
        ),
        (
            ("What was the job of the third visitor before retiring?", ["postman", "a postman", "mailman"], "text", 1),
            ("How many people came to look at the piano?", 3, "number", 1),
            (
                (
                    "Why did Mrs Okafor say that the piano had been sold?\n\nA) The student had paid for it.\nB) She"
                    " had decided to keep it.\nC) The postman offered too little.\nD) It did not fit through the"
                    " staircase."
                ),
                "B",
                "choice",
                4,
            ),
            (
                (
                    "What most likely made the second visitor leave?\n\nA) the price\nB) the sound\n"
                    "C) the way the piano would have to be carried\nD) the advertisement"
                ),
                "C",
                "choice",
                3,
            ),
        ),
    ),
    (
        (
            "A lichen is not one organism but a partnership. A fungus gives it shape and holds water; an alga, or in"
            " about one kind in ten a cyanobacterium, makes sugar from light. Because lichens have no roots, they take"
            " what they need from rain and air, and with it whatever is dissolved there. Where coal was burned, they"
            " vanished from the trees within decades, and only the crusty grey-green Lecanora conizaeoides, which"
            " tolerates sulphur dioxide, spread. Since the air has become cleaner, that species has grown rare, while"
            " the others return."
        ),
        (
            (
                "Which partner of a lichen makes sugar in most kinds: the fungus, the alga or the cyanobacterium?",
                ["alga", "the alga", "algae"],
                "text",
                1,
            ),
            (
                "Which organs, through which plants take up water, do lichens lack?",
                ["roots", "root"],
                "text",
                2,
            ),
            (
                (
                    "What does much Lecanora conizaeoides on a town's trees suggest?\n\nA) The air holds much sulphur"
                    " dioxide.\nB) The air is clean.\nC) The trees are ill.\nD) It rains little."
                ),
                "A",
                "choice",
                3,
            ),
            (
                (
                    "Which statement contradicts the passage?\n\nA) Some lichens contain no alga.\nB) Cleaner air made"
                    " one species rarer.\nC) A lichen's fungus feeds itself by photosynthesis.\nD) Lichens react to"
                    " what rain contains."
                ),
                "C",
                "choice",
                4,
            ),
        ),
    ),
    (
        (
            "Minutes of 3 March. Present: Adeyemi (chair), Brandt, Costa, Duval; Eriksen joined after item 2. Item 1:"
            " the minutes of February were approved without a vote against. Item 2: Costa's proposal to move the office"
            " was put to a vote; Brandt and Duval voted against, the others present voted for it. As the rules demand"
            " more votes for than against, the proposal failed. Item 3: Eriksen will collect offers for new heating"
            " until the next meeting, which is in five weeks, on the same day of the week."
        ),
        (
            ("Who chaired the meeting?", ["Adeyemi"], "text", 1),
            ("How many people voted for moving the office?", 2, "number", 2),
            (
                "Had Eriksen come in time and voted for the proposal, would it have passed? Answer yes or no.",
                "yes",
                "text",
                3,
            ),
            (
                "On which date is the next meeting? Answer with day and month, such as 17 May.",
                ["7 April", "April 7", "7th April", "7th of April", "April 7th"],
                "text",
                4,
            ),
        ),
    ),
)

KNOWLEDGE: tuple[tuple[int, str, str, str, str, str], ...] = (
    (1, "Which planet is nearest to the Sun?", "Mercury", "Venus", "Mars", "Earth"),
    (1, "Which gas do green plants take in for photosynthesis?", "carbon dioxide", "oxygen", "nitrogen", "hydrogen"),
    (1, "What is the capital of Japan?", "Tokyo", "Kyoto", "Osaka", "Seoul"),
    (1, "How many sides does a hexagon have?", "6", "5", "7", "8"),
    (1, "Who wrote the play Romeo and Juliet?", "William Shakespeare", "Charles Dickens", "Jane Austen", "John Milton"),
    (1, "Which organ pumps blood through the human body?", "the heart", "the liver", "the lungs", "the spleen"),
    (1, "At what temperature does pure water freeze at sea level, in degrees Celsius?", "0", "32", "100", "−18"),
    (
        1,
        "Which ocean lies between Africa and Australia?",
        "the Indian Ocean",
        "the Atlantic",
        "the Arctic Ocean",
        "the Southern Pacific",
    ),
    (2, "Which chemical element has the symbol Fe?", "iron", "fluorine", "lead", "francium"),
    (2, "In which year did the Berlin Wall fall?", "1989", "1979", "1991", "1985"),
    (2, "Which data structure gives back first what was put in last?", "stack", "queue", "heap", "linked list"),
    (
        2,
        "What is the powerhouse of the cell, which makes most of its ATP?",
        "mitochondrion",
        "ribosome",
        "Golgi apparatus",
        "lysosome",
    ),
    (
        2,
        "Which river flows through Vienna, Budapest and Belgrade?",
        "the Danube",
        "the Rhine",
        "the Elbe",
        "the Vistula",
    ),
    (
        2,
        "Who formulated the three laws of motion on which classical mechanics rests?",
        "Isaac Newton",
        "Johannes Kepler",
        "Niels Bohr",
        "Michael Faraday",
    ),
    (2, "Which language has the most native speakers in Brazil?", "Portuguese", "Spanish", "Italian", "Guarani"),
    (2, "What does a thermometer measure?", "temperature", "heat capacity", "pressure", "humidity"),
    (3, "Which vitamin does human skin make in sunlight?", "vitamin D", "vitamin C", "vitamin B12", "vitamin K"),
    (
        3,
        "In economics, what is a price floor above the equilibrium price likely to cause?",
        "a surplus",
        "a shortage",
        "no change in quantities",
        "a lower price",
    ),
    (
        3,
        "Which treaty of 1648 ended the Thirty Years' War?",
        "the Peace of Westphalia",
        "the Treaty of Utrecht",
        "the Treaty of Tordesillas",
        "the Congress of Vienna",
    ),
    (3, "What is the derivative of x·ln(x) with respect to x?", "ln(x) + 1", "1/x", "ln(x)", "x + ln(x)"),
    (3, "Which HTTP status code means that the requested resource has moved permanently?", "301", "302", "404", "503"),
    (3, "Which blood cells carry oxygen?", "erythrocytes", "leukocytes", "thrombocytes", "lymphocytes"),
    (
        3,
        "Which composer wrote the opera The Magic Flute?",
        "Wolfgang Amadeus Mozart",
        "Ludwig van Beethoven",
        "Giuseppe Verdi",
        "Richard Wagner",
    ),
    (
        3,
        "What is the time complexity of binary search in a sorted array of n elements?",
        "O(log n)",
        "O(n)",
        "O(n log n)",
        "O(1)",
    ),
    (
        4,
        "Which enzyme joins the Okazaki fragments during DNA replication?",
        "DNA ligase",
        "DNA helicase",
        "primase",
        "topoisomerase",
    ),
    (
        4,
        "Which SQL isolation level is the weakest that rules out non-repeatable reads in the SQL standard?",
        "REPEATABLE READ",
        "READ COMMITTED",
        "READ UNCOMMITTED",
        "SERIALIZABLE",
    ),
    (
        4,
        "In Kant's ethics, which principle must a maxim satisfy to be moral?",
        "that it can be willed as a universal law",
        "that it brings the greatest happiness",
        "that it lies between two extremes",
        "that the gods approve of it",
    ),
    (
        4,
        "How does the period of a simple pendulum change when its length is quadrupled (small angles)?",
        "It doubles.",
        "It quadruples.",
        "It halves.",
        "It stays the same.",
    ),
    (
        4,
        "Which statistical error is made when a true null hypothesis is rejected?",
        "type I error",
        "type II error",
        "standard error",
        "sampling error",
    ),
    (
        4,
        "Which Chinese dynasty built most of the Great Wall that stands near Beijing today?",
        "Ming",
        "Qin",
        "Tang",
        "Song",
    ),
    (4, "What is the hybridisation of the carbon atoms in ethyne (acetylene)?", "sp", "sp²", "sp³", "sp³d"),
    (
        4,
        "Which part of the Bayesian formula is the product of prior and likelihood divided by?",
        "the evidence (marginal likelihood)",
        "the posterior",
        "the odds ratio",
        "the variance of the prior",
    ),
    (
        5,
        "Which group of four elements is not cyclic?",
        "the Klein four-group",
        "the cyclic group of order 4",
        "the quaternion group",
        "the symmetric group S₃",
    ),
    (
        5,
        "Which cranial nerve supplies the lateral rectus muscle of the eye?",
        "the abducens nerve (VI)",
        "the oculomotor nerve (III)",
        "the trochlear nerve (IV)",
        "the optic nerve (II)",
    ),
    (
        5,
        "In the CAP theorem, what must a system give up during a network partition if it stays linearisable?",
        "availability of some requests",
        "durability of all writes",
        "partition tolerance",
        "eventual consistency",
    ),
    (5, "What is the residue of 1/(z² + 1) at z = i?", "1/(2i)", "1/2", "i", "−1/(2i)"),
    (
        5,
        (
            "Which consensus property does the FLP result show no deterministic algorithm can guarantee in an"
            " asynchronous system with one crash?"
        ),
        "termination",
        "agreement",
        "validity",
        "integrity",
    ),
    (
        5,
        "Which doctrine lets a court disregard a company's separate legal personality?",
        "piercing the corporate veil",
        "res ipsa loquitur",
        "promissory estoppel",
        "stare decisis",
    ),
    (
        5,
        "Which particle was discovered in 1983 at CERN together with the Z boson?",
        "the W boson",
        "the top quark",
        "the Higgs boson",
        "the tau neutrino",
    ),
    (
        5,
        (
            "For which matrices does the spectral theorem guarantee an orthonormal basis of eigenvectors over the"
            " complex numbers?"
        ),
        "normal matrices",
        "all invertible matrices",
        "all diagonalisable matrices",
        "all triangular matrices",
    ),
)
